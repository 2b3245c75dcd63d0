package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is a router with hosts. Its methods are safe for concurrent use.
type Network struct {
	router *os.File
	here   *Host

	mu    sync.Mutex
	hosts int
	rules int // rules that were ever made
}

// Host is a host of a network. A nil *Host is the machine itself.
type Host struct {
	Address string // an IPv4 address, at which all hosts reach it

	network   *Network
	namespace *os.File
	number    int
}

// New makes a network. The calling process, which must be isolated, becomes its first host.
func New(t testing.TB) *Network {
	t.Helper()
	if os.Getenv(isolatedVariable) == "" {
		t.Fatal("netns: call Isolated first")
	}
	n, err := newNetwork()
	if err != nil {
		t.Fatalf("netns: %v", err)
	}
	return n
}

func newNetwork() (*Network, error) {
	router, err := newNamespace()
	if err != nil {
		return nil, err
	}
	n := &Network{router: router}
	err = within(router, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	if err != nil {
		return nil, err
	}
	own, err := os.Open("/proc/thread-self/ns/net") // the first thread may be the one that enter has used up
	if err != nil {
		return nil, err
	}
	n.here, err = n.plug(own)
	return n, err
}

// Here returns the host of the calling process.
func (n *Network) Here() *Host { return n.here }

// Host adds a host.
func (n *Network) Host(t testing.TB) *Host {
	t.Helper()
	namespace, err := newNamespace()
	if err != nil {
		t.Fatalf("netns: %v", err)
	}
	h, err := n.plug(namespace)
	if err != nil {
		t.Fatalf("netns: %v", err)
	}
	return h
}

// plug connects a namespace with the router.
func (n *Network) plug(namespace *os.File) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{network: n, namespace: namespace, number: n.hosts}
	h.Address = h.address(2)
	n.hosts++
	err := ip(n.router, namespace,
		fmt.Sprintf("link add %s type veth peer name eth0 netns /proc/self/fd/3", h.cable()),
		fmt.Sprintf("address add %s/24 dev %s", h.address(1), h.cable()),
		fmt.Sprintf("link set %s up", h.cable()))
	if err != nil {
		return nil, err
	}
	return h, ip(namespace, nil,
		"link set lo up",
		fmt.Sprintf("address add %s/24 dev eth0", h.Address),
		"link set eth0 up",
		"route add default via "+h.address(1))
}

func (h *Host) address(last int) string { return fmt.Sprintf("10.77.%d.%d", h.number, last) }
func (h *Host) subnet() string          { return h.address(0) + "/24" }
func (h *Host) cable() string           { return fmt.Sprintf("host%d", h.number) }

// Manner is how the router treats packets that must not pass.
type Manner string

const (
	// Silent drops them, like a broken cable.
	Silent Manner = "blackhole"
	// Loud tells their sender that the destination is unreachable, like a router that has lost its route.
	Loud Manner = "unreachable"
)

// Cut makes the router stop all packets from one host to another, until the caller calls mend. A cut in
// both directions is two cuts.
func (n *Network) Cut(from, to *Host, how Manner) (mend func() error, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules++
	rule := fmt.Sprintf("pref %d from %s to %s %s", 100+n.rules%10_000, from.subnet(), to.subnet(), how)
	if err := ip(n.router, nil, "rule add "+rule); err != nil {
		return nil, err
	}
	return func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		return ip(n.router, nil, "rule del "+rule)
	}, nil
}

// Unplug takes a host off the network, until Plug.
func (h *Host) Unplug() error { return h.setCable("down") }

// Plug puts a host back.
func (h *Host) Plug() error { return h.setCable("up") }

func (h *Host) setCable(to string) error {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	return ip(h.network.router, nil, fmt.Sprintf("link set %s %s", h.cable(), to))
}

// Enter moves the calling goroutine to the host: sockets that it opens and processes that it starts are
// there. The goroutine must not do anything else afterwards, and its thread ends with it.
func (h *Host) Enter() error {
	if h == nil {
		return nil
	}
	return enter(h.namespace)
}

// Start starts a command on the host.
func (h *Host) Start(cmd *exec.Cmd) error {
	if h == nil {
		return cmd.Start()
	}
	return within(h.namespace, cmd.Start)
}

func enter(namespace *os.File) error {
	runtime.LockOSThread() // never unlocked, so the runtime ends the thread with its goroutine
	return os.NewSyscallError("setns", unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET))
}

// within calls do in a namespace.
func within(namespace *os.File, do func() error) error {
	done := make(chan error)
	go func() {
		err := enter(namespace)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// newNamespace makes a namespace that exists until the file is closed and the last process in it has ended.
func newNamespace() (namespace *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, as in enter
		if err = os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET)); err == nil {
			namespace, err = os.Open("/proc/thread-self/ns/net")
		}
	}()
	<-done
	return namespace, err
}

// ip runs commands of ip in a namespace. They may name another namespace as /proc/self/fd/3.
func ip(namespace, other *os.File, commands ...string) error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if other != nil {
		cmd.ExtraFiles = []*os.File{other}
	}
	var out []byte
	err := within(namespace, func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("ip: %w: %s\n%s", err, out, strings.Join(commands, "\n"))
	}
	return nil
}

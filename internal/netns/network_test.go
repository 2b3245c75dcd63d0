package netns

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNetwork connects two hosts, cuts them off from each other in each manner, and unplugs one.
func TestNetwork(t *testing.T) {
	if !Isolated(t, nil, nil) {
		return
	}
	n := New(t)
	a, b := n.Host(t), n.Host(t)
	var listener net.Listener
	check(t, within(b.namespace, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(b.Address, "7900"))
		return err
	}))
	arrived := make(chan net.Conn)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			arrived <- conn
		}
	}()
	connect := func(patience time.Duration) (net.Conn, error) {
		var conn net.Conn
		return conn, within(a.namespace, func() (err error) {
			conn, err = net.DialTimeout("tcp", listener.Addr().String(), patience)
			return err
		})
	}
	_, err := connect(time.Minute)
	check(t, err)
	far := <-arrived
	if got := far.RemoteAddr().(*net.TCPAddr).IP.String(); got != a.Address {
		t.Errorf("the other end is %s, want %s", got, a.Address)
	}
	for how, patience := range map[Manner]time.Duration{Silent: time.Second, Loud: time.Minute} {
		mend, err := n.Cut(a, b, how)
		check(t, err)
		_, err = connect(patience)
		if err == nil {
			t.Fatalf("%s: the cut lets a connection through", how)
		}
		if loud := errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH); loud != (how == Loud) {
			t.Errorf("%s: %v", how, err)
		}
		check(t, mend())
		_, err = connect(time.Minute)
		check(t, err)
		<-arrived
	}
	check(t, b.Unplug())
	if _, err := connect(time.Second); err == nil {
		t.Error("an unplugged host takes a connection")
	}
	check(t, b.Plug())
	_, err = connect(time.Minute)
	check(t, err)
	<-arrived
	_, err = net.Dial("tcp", listener.Addr().String()) // from the test's own host
	check(t, err)
	if got := (<-arrived).RemoteAddr().(*net.TCPAddr).IP.String(); got != n.Here().Address {
		t.Errorf("the other end is %s, want %s", got, n.Here().Address)
	}
	check(t, listener.Close())

	cmd := exec.Command("ip", "-brief", "address", "show", "dev", "eth0")
	var out strings.Builder
	cmd.Stdout = &out
	check(t, a.Start(cmd))
	check(t, cmd.Wait())
	if want := a.Address + "/24"; !strings.Contains(out.String(), want) {
		t.Errorf("a command on the host sees %q, want %s", out.String(), want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

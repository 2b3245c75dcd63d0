package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/doortest"
)

// awaitProblem waits until the node says why others don't reach it.
func (n *node) awaitProblem(tb testing.TB, kind error, text string) {
	tb.Helper()
	await.Until(tb, "the node says why it is not reached", func() bool {
		err := n.Problem()
		return errors.Is(err, kind) && strings.Contains(err.Error(), text)
	}, func() string { return fmt.Sprint(n.Problem()) })
}

// awaitReached waits until the node has no problem and others have links to it.
func (n *node) awaitReached(tb testing.TB, others ...*node) {
	tb.Helper()
	await.Until(tb, "the node is reached", func() bool {
		for _, o := range others {
			if !n.listener.linked(o.Node) {
				return false
			}
		}
		return n.Problem() == nil
	}, func() string { return fmt.Sprint(n.Problem()) })
}

// TestJudge checks after which sights a node serves, waits for a proof, or steps aside.
func TestJudge(t *testing.T) {
	const patience = 10 * time.Second
	const serves, waits, aside = "serves", "waits", "aside"
	refused := errors.New("connection refused")
	var (
		well       = sight{stands: true, reached: true, reaches: true, others: true}
		alone      = sight{stands: true}
		aloneDead  = sight{err: refused}
		aloneElse  = sight{err: errElsewhere}
		dead       = sight{err: refused, reaches: true, others: true}
		elsewhere  = sight{err: errElsewhere, reaches: true, others: true}
		walled     = sight{stands: true, reaches: true, others: true}
		hairpin    = sight{err: refused, reached: true, reaches: true, others: true}
		cut        = sight{stands: true, others: true, older: true}
		deaf       = sight{err: refused, others: true, older: true}
		joined     = sight{stands: true, reaches: true, others: true, older: true}
		joinedDead = sight{err: refused, reaches: true, others: true, older: true}
		dialing    = sight{reaches: true, others: true, older: true}
	)
	type look struct {
		sight
		seconds int // how long it lasts
		verdict string
	}
	for name, looks := range map[string][]look{
		"alone with any address":            {{aloneDead, 100, serves}},
		"alone, but something else there":   {{aloneElse, 1, aside}, {alone, 1, serves}, {aloneElse, 100, serves}},
		"dead from the beginning":           {{dead, 2, serves}, {dead, 1, aside}, {dead, 100, aside}, {well, 1, serves}},
		"dead later":                        {{well, 100, serves}, {dead, 9, serves}, {dead, 1, aside}, {well, 1, serves}, {dead, 9, serves}},
		"elsewhere from the beginning":      {{elsewhere, 1, aside}, {dead, 1, aside}, {well, 1, serves}},
		"elsewhere later":                   {{well, 1, serves}, {elsewhere, 9, serves}, {elsewhere, 1, aside}},
		"a moment's trouble, often":         {{well, 1, serves}, {dead, 9, serves}, {well, 1, serves}, {walled, 9, serves}, {well, 1, serves}},
		"one trouble after another":         {{walled, 4, serves}, {dead, 5, serves}, {elsewhere, 1, aside}},
		"only itself reaches it":            {{walled, 9, serves}, {walled, 1, aside}, {well, 1, serves}},
		"only others reach it":              {{hairpin, 100, serves}},
		"cut from all others":               {{well, 1, serves}, {cut, 100, serves}},
		"nobody reaches anybody, oldest":    {{aloneDead, 100, serves}},
		"nobody reaches anybody, a later":   {{deaf, 2, waits}, {deaf, 1, aside}, {aloneDead, 1, serves}},
		"the others leave":                  {{dead, 3, aside}, {aloneDead, 1, serves}, {dead, 2, serves}, {dead, 1, aside}},
		"the address is right, and a cut":   {{well, 1, serves}, {dead, 10, aside}, {cut, 1, serves}},
		"its own address is right, others":  {{dead, 3, aside}, {walled, 3, aside}, {well, 1, serves}},
		"new":                               {{dialing, 1, waits}, {joined, 1, waits}, {well, 1, serves}, {joined, 9, serves}, {joined, 1, aside}},
		"new, and only itself reaches it":   {{joined, 9, waits}, {joined, 1, aside}, {well, 1, serves}},
		"new, and refused":                  {{joinedDead, 2, waits}, {joinedDead, 1, aside}, {well, 1, serves}},
		"new, and packets get lost":         {{dialing, 3, waits}, {joinedDead, 1, aside}},
		"new, and cut from all others":      {{cut, 9, waits}, {cut, 1, aside}, {alone, 1, serves}},
		"new, and the others leave":         {{joined, 1, waits}, {alone, 1, serves}, {joined, 1, waits}},
		"new, and the others leave it dead": {{joinedDead, 3, aside}, {aloneDead, 1, serves}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			j := judge{patience: patience, last: now}
			for i, l := range looks {
				var err error
				for range l.seconds {
					now = now.Add(time.Second)
					err = j.verdict(now, l.sight)
				}
				got := serves
				if errors.Is(err, errUnproven) {
					got = waits
				} else if err != nil {
					got = aside
				}
				if got != l.verdict {
					t.Fatalf("after look %d the node %s: %v", i, got, err)
				}
			}
		})
	}
	t.Run("a frozen process", func(t *testing.T) {
		now := time.Now()
		j := judge{patience: patience, last: now, worked: true, proven: true}
		for range 4 {
			now = now.Add(time.Hour)
			if err := j.verdict(now, dead); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestAddressLeadsElsewhere checks that nobody takes a node for the one whose address leads to it,
// and that the node with the wrong address learns what is wrong.
func TestAddressLeadsElsewhere(t *testing.T) {
	table := newTable()
	edge, other := table.start(t, nil), table.start(t, nil)
	lost := table.start(t, func(string) string { return other.Address })
	mesh := newMesh()
	table.own(mesh, lost.ID)
	edge.await(t, "where another node answers")
	lost.awaitProblem(t, errElsewhere, "advertises "+other.Address+", where another node answers")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if take, err := edge.Route(ctx, mesh, netip.Addr{}); take != nil || err == nil {
		t.Errorf("Route: %v, %v", take != nil, err)
	}

	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	old.StartTLS()
	t.Cleanup(old.Close)
	plain := httptest.NewUnstartedServer(http.NotFoundHandler())
	plain.Listener = tls.NewListener(plain.Listener, &tls.Config{Certificates: secure.TLS.Certificates}) // without ALPN
	plain.Start()
	t.Cleanup(plain.Close)
	shell := doortest.Open(t, "127.0.0.1:0", func(conn net.Conn) { _, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.9\r\n") })
	for name, address := range map[string]string{
		"HTTP": web.Listener.Addr().String(), "HTTPS": secure.Listener.Addr().String(), "TLS 1.2": old.Listener.Addr().String(),
		"TLS without ALPN": plain.Listener.Addr().String(), "SSH": shell.Address,
	} {
		t.Run(name, func(t *testing.T) {
			table.start(t, func(string) string { return address }).awaitProblem(t, errElsewhere, "something other than a node answers")
		})
	}
	edge.awaitReached(t, other)
	other.awaitReached(t, edge)
}

// TestAddressLeadsNowhere starts nodes at whose addresses nothing answers as a node. Alone, such a node
// takes meshes, since nobody needs its address. It steps aside beside another one, and comes back
// when its address works.
func TestAddressLeadsNowhere(t *testing.T) {
	for name, answer := range map[string]func(net.Conn){"refused": nil, "silent": doortest.Silent, "EOF": func(net.Conn) {}} {
		t.Run(name, func(t *testing.T) {
			table := newTable()
			table.patience = time.Millisecond
			wrong := doortest.Open(t, "127.0.0.1:0", answer)
			if answer == nil {
				wrong.Close()
			}
			var real string
			lost := table.start(t, func(address string) string {
				real = address
				return wrong.Address
			})
			lost.await(t, "no connection to this node itself")
			lost.awaitReached(t) // by nobody
			well := table.start(t, nil)
			lost.awaitProblem(t, errUnreached, "advertises "+wrong.Address)
			await.Until(t, "the node gets no meshes", func() bool {
				nodes, _ := view{table, well.ID}.Nodes(t.Context())
				return nodes[0].Elsewhere && !nodes[1].Elsewhere
			})
			well.awaitReached(t, lost)
			wrong.Close()
			doortest.Open(t, wrong.Address, doortest.PassTo(func() string { return real }))
			lost.awaitReached(t, well)
		})
	}
	t.Run("no such host", func(t *testing.T) {
		table := newTable()
		table.patience = time.Millisecond
		table.start(t, nil)
		lost := table.start(t, func(string) string { return "nowhere.invalid:7901" })
		lost.awaitProblem(t, errUnreached, "advertises nowhere.invalid:7901")
	})
	t.Run("to itself only", func(t *testing.T) {
		table := newTable()
		table.patience = time.Millisecond
		dead := doortest.Nowhere(t)
		well := table.start(t, nil)
		lost := table.start(t, nil)
		lost.awaitReached(t, well)
		table.change(func() { table.addresses[lost.ID] = dead })
		again := table.start(t, nil) // a link that stands stays
		lost.awaitReached(t, well)
		well.Close()
		table.change(func() { table.nodes = table.nodes[1:] })
		lost.awaitProblem(t, errUnreached, "other nodes do not reach it")
		again.awaitReached(t, lost)
	})
	t.Run("all nodes", func(t *testing.T) {
		table := newTable()
		table.patience = time.Millisecond
		dead := doortest.Nowhere(t)
		oldest := table.start(t, func(string) string { return dead })
		for range 2 {
			table.start(t, func(string) string { return dead }).awaitProblem(t, errUnreached, "does not reach itself")
		}
		if err := oldest.Problem(); err != nil {
			t.Errorf("the oldest node steps aside: %v", err)
		}
	})
}

// TestAddressLeadsToAnyNode has an address that leads to one of two nodes in turn, as that of a load
// balancer does: the links find their nodes in the end.
func TestAddressLeadsToAnyNode(t *testing.T) {
	table := newTable()
	var mu sync.Mutex
	var real []string
	turn := 0
	balancer := doortest.Open(t, "127.0.0.1:0", doortest.PassTo(func() string {
		mu.Lock()
		defer mu.Unlock()
		turn++
		return real[turn%len(real)]
	}))
	behind := func(address string) string {
		mu.Lock()
		defer mu.Unlock()
		real = append(real, address)
		return balancer.Address
	}
	a, b := table.start(t, behind), table.start(t, behind)
	a.awaitReached(t, b)
	b.awaitReached(t, a)
}

// TestHostHasManyAddresses advertises a name with three addresses: at one of them nobody answers, at
// one something else, and at one the node.
func TestHostHasManyAddresses(t *testing.T) {
	useResolver(t, [4]byte{127, 0, 0, 3}, [4]byte{127, 0, 0, 2}, [4]byte{127, 0, 0, 1})
	table := newTable()
	well := table.start(t, nil)
	n := table.start(t, func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		doortest.Open(t, "127.0.0.2:"+port, func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") })
		return "many.example:" + port
	})
	n.awaitReached(t, well, n)
}

// useResolver answers all questions for names with addresses, until the test ends.
func useResolver(t *testing.T, addresses ...[4]byte) {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		buffer := make([]byte, 1024)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				for _, a := range addresses {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: a},
					})
				}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = server.WriteTo(answer, from)
			}
		}
	})
	usual := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = usual
		_ = server.Close()
		wait.Wait()
	})
}

// TestIPv6 links two nodes over IPv6.
func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	_ = l.Close()
	table := newTable()
	well := table.start(t, nil)
	n := table.start(t, func(address string) string {
		return doortest.Open(t, "[::1]:0", doortest.PassTo(func() string { return address })).Address
	})
	n.awaitReached(t, well, n)
}

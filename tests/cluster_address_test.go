package tests

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// TestClusterAddress starts nodes that advertise the address of another node, of something that isn't
// a node, or of nothing. Each says so and has no meshes. A node whose address begins to lead to it is
// ready.
func TestClusterAddress(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	address := "127.0.0.1:" + strconv.Itoa(freePort(t))
	a := newServer(t, "DATABASE_URL="+pg.DSN())
	a.JoinCluster(address)
	a.Start()

	t.Run("wrong", func(t *testing.T) {
		for name, wrong := range map[string]struct {
			address string
			answer  func(net.Conn) // nil: the address is not the test's
			log     string
			joins   bool
		}{
			"another node": {address, nil, "advertises the same address " + address, false},
			"a server":     {"127.0.0.1:" + strconv.Itoa(a.Port), nil, "where something other than a node answers", true},
			"no such host": {"nowhere.invalid:7901", nil, "does not reach itself there", true},
			"refused":      {"127.0.0.1:" + strconv.Itoa(freePort(t)), nil, "connection refused", true},
			"silent":       {"", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, "does not answer within", true},
			"EOF":          {"", func(net.Conn) {}, "closes the connection at once", true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				at, leave := wrong.address, func() {}
				if wrong.answer != nil {
					at, leave = answerAt(t, "127.0.0.1:0", wrong.answer)
				}
				right := "127.0.0.1:" + strconv.Itoa(freePort(t))
				b := newServer(t, "DATABASE_URL="+pg.DSN())
				b.JoinCluster(right, "advertise "+at)
				b.Launch()
				notReady(t, b, "cluster_address")
				await.Until(t, "the log says what is wrong", func() bool {
					return strings.Contains(b.Log(), wrong.log) && strings.Contains(b.Log(), "advertise")
				})
				if !wrong.joins {
					return
				}
				await.Until(t, "the database says that the node gets no meshes", func() bool {
					out, _ := operate(a, pg, "nodes")
					for line := range strings.Lines(out) {
						if strings.Contains(line, " "+at+" ") && strings.Contains(line, "leads elsewhere or nowhere") {
							return true
						}
					}
					return false
				})
				m := newTeam(t, b) // the node hands it over, if it has got it
				await.Until(t, "the node owns no mesh", func() bool { return nodeOf(t, pg, b).meshes == 0 })
				m.at(a).owner.daemon(t).sync()
				if name == "refused" || wrong.answer != nil {
					leave()
					answerAt(t, at, passTo(right))
					b.AwaitReady()
				}
				b.Stop()
			})
		}
	})
	a.AwaitReady()
}

// answerAt does something with each connection to an address, and then closes it.
func answerAt(t *testing.T, at string, answer func(net.Conn)) (address string, leave func()) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var answers sync.WaitGroup
	open := make(map[net.Conn]struct{}) // nil: nobody answers any more
	answers.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if open == nil {
				_ = conn.Close()
			} else {
				open[conn] = struct{}{}
				answers.Go(func() {
					answer(conn)
					_ = conn.Close()
					mu.Lock()
					defer mu.Unlock()
					delete(open, conn)
				})
			}
			mu.Unlock()
		}
	})
	leave = func() {
		_ = l.Close()
		mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		open = nil
		mu.Unlock()
		answers.Wait()
	}
	t.Cleanup(leave)
	return l.Addr().String(), leave
}

// passTo passes a connection on to an address.
func passTo(address string) func(net.Conn) {
	return func(in net.Conn) {
		out, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		var back sync.WaitGroup
		back.Go(func() {
			_, _ = io.Copy(in, out)
			_ = in.Close()
		})
		_, _ = io.Copy(out, in)
		_ = out.Close()
		back.Wait()
	}
}

package tests

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/wire"
)

// TestSlowAnswers checks that each verb that asks the broker says what it waits for when the
// answer takes long.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	id := strings.Fields(alice.must("send", "bob", "hello"))[0]
	url := withoutAnswers(t, s.WSURL())
	var waiting []*terminal
	for _, args := range [][]string{
		{"peers"}, {"members"}, {"invite"}, {"audit"}, {"audit", "verify"}, {"verify", "bob"}, {"trust", "bob"}, {"block", "bob"},
		{"unblock", "bob"}, {"role", "bob", "admin"}, {"remove", "bob", "--yes"}, {"ban", "bob"}, {"unban", "bob"}, {"bans"},
		{"kick", "bob"}, {"status", id}, {"leave", "team", "--yes"}, {"whoami"},
	} {
		waiting = append(waiting, alice.terminal(append(args, "--broker", url)...))
	}
	for _, verb := range waiting {
		verb.awaits("waiting for the broker at " + url + " to answer")
	}
}

// withoutAnswers returns the URL of a proxy that passes on everything from clients, but only
// the handshake from the broker.
func withoutAnswers(t *testing.T, broker string) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		client, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		upstream, _, err := websocket.Dial(ctx, broker, nil)
		if err != nil {
			client.CloseNow()
			return
		}
		running.Go(func() {
			welcomed := false
			pass(ctx, upstream, client, func(message string) bool {
				before := !welcomed
				welcomed = welcomed || strings.Contains(message, `"`+wire.TypeHelloAck+`"`)
				return before
			})
		})
		pass(ctx, client, upstream, func(string) bool { return true })
	}))
	t.Cleanup(func() {
		stop()
		running.Wait()
		server.Close()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/ws"
}

// pass passes on the messages for which fits returns true, and the end of the connection with
// its code.
func pass(ctx context.Context, from, to *websocket.Conn, fits func(string) bool) {
	defer to.CloseNow()
	from.SetReadLimit(-1)
	for {
		kind, message, err := from.Read(ctx)
		var end websocket.CloseError
		if errors.As(err, &end) {
			_ = to.Close(end.Code, end.Reason)
		}
		if err != nil || fits(string(message)) && to.Write(ctx, kind, message) != nil {
			return
		}
	}
}

// TestVerbsWaitForTheBroker has a balancer refuse the first attempt of each verb, as it does while
// no node serves the mesh.
func TestVerbsWaitForTheBroker(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	link := alice.invite()
	id := strings.Fields(alice.must("send", "bob", "hello"))[0]
	bob.must("inbox")
	for _, args := range [][]string{
		{"send", "bob", "once"}, {"reply", id, "again"}, {"peers"}, {"members"}, {"invite"}, {"inbox"}, {"audit"}, {"audit", "verify"}, {"verify", "bob"},
		{"status", id}, {"bans"}, {"role", "bob", "member"}, {"create", "second"}, {"join"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			who := alice
			switch args[0] {
			case "reply":
				who = bob
			case "create":
				who = newPerson(t, s)
			case "join":
				who = newPerson(t, s)
				args = []string{"join", link, "--name", "carol"}
			}
			url, requests := refusingFirst(t, s)
			if _, errOut, code := who.run(append(args, "--broker", url)...); code != 0 || requests.Load() < 2 {
				t.Errorf("%v: exit code %d after %d requests\n%s", args, code, requests.Load(), errOut)
			}
		})
	}
}

// refusingFirst returns the URL of a proxy that refuses the first request, and counts them.
func refusingFirst(t *testing.T, s *server) (url string, requests *atomic.Int64) {
	t.Helper()
	proxy := proxyOf(t, s)
	requests = new(atomic.Int64)
	return serveProxy(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 1 {
			proxy.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	})), requests
}

// proxyOf returns a proxy in front of a broker.
func proxyOf(t *testing.T, s *server) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
}

// serveProxy serves a proxy until the end of the test. It returns the URL of the WebSocket.
func serveProxy(t *testing.T, proxy http.Handler) string {
	t.Helper()
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/ws"
}

package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a broker with its own SQLite behind a real HTTP server.
type server struct {
	*broker.Broker
	t     testing.TB
	store *sqlite.Store
	url   string
}

func start(t testing.TB, change func(*broker.Settings)) *server {
	t.Helper()
	return startAt(t, filepath.Join(t.TempDir(), "broker.db"), change)
}

func startAt(t testing.TB, path string, change func(*broker.Settings)) *server {
	t.Helper()
	store := open(t, path)
	return serve(t, store, store, change)
}

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// openNew opens a new database.
func openNew(t testing.TB) *sqlite.Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "broker.db"))
}

// serve runs a broker on storage, which must keep everything in store.
func serve(t testing.TB, store *sqlite.Store, storage broker.Storage, change func(*broker.Settings)) *server {
	t.Helper()
	return run(t, store, broker.Options{Storage: storage}, change)
}

// run starts a broker with these options and the tests' settings, log and version. store is the
// broker's storage, or nil if the test does not read it.
func run(t testing.TB, store *sqlite.Store, options broker.Options, change func(*broker.Settings)) *server {
	t.Helper()
	options.Settings = broker.DefaultSettings()
	options.Settings.SendRatePerMin, options.Settings.SendBurst = 1_000_000, 1_000_000
	if change != nil {
		change(&options.Settings)
	}
	if options.Version = "test"; options.Log == nil {
		options.Log = zaptest.NewLogger(t)
	}
	b := broker.New(options)
	if err := b.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := b.ServeWebSocket(w, r, netip.MustParseAddrPort(r.RemoteAddr).Addr()); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		web.Close()
	})
	return &server{b, t, store, "ws" + strings.TrimPrefix(web.URL, "http")}
}

// member is a member of a mesh, with its keys.
type member struct {
	keys         identity.KeyPair
	mesh, member string
}

func (s *server) owner() member {
	s.t.Helper()
	keys, err := identity.Generate()
	if err != nil {
		s.t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	made, err := s.CreateMesh(context.Background(), wire.CreateMesh{
		Slug: "team", Name: "Team", DisplayName: "Owner", OwnerPubkey: keys.Public().String(), Timestamp: now,
		Signature: keys.Sign(wire.CreateMeshSigningText("team", "Team", "Owner", keys.Public(), now)).String(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return member{keys, made.MeshID.String(), made.MemberID.String()}
}

type frame = map[string]any

// client is one raw connection.
type client struct {
	t  testing.TB
	ws *websocket.Conn
}

func (s *server) dial() *client {
	s.t.Helper()
	ws, _, err := websocket.Dial(s.t.(interface{ Context() context.Context }).Context(), s.url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{s.t, ws}
}

func (c *client) send(f frame) {
	c.t.Helper()
	data, _ := json.Marshal(f)
	if err := c.ws.Write(context.Background(), websocket.MessageText, data); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next frame. The argument what names the awaited frame in a failure.
func (c *client) read(what string) (f frame) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	_, data, err := c.ws.Read(ctx)
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", what, err)
	}
	return f
}

// next returns the next frame, which must be of the given type. It skips system pushes.
func (c *client) next(kind string) frame {
	c.t.Helper()
	for {
		switch f := c.read(kind); {
		case f["subtype"] == "system":
		case f["type"] != kind:
			c.t.Fatalf("got frame %v, want type %s", f, kind)
		default:
			return f
		}
	}
}

// session connects a session of m with the given keys. It succeeds the older sessions.
func (s *server) session(m member, keys identity.KeyPair, sessionID string, succeeds ...frame) *client {
	s.t.Helper()
	c := s.dial()
	c.send(sessionHello(m, keys, sessionID, succeeds...))
	c.next("hello_ack")
	return c
}

func sessionHello(m member, keys identity.KeyPair, sessionID string, succeeds ...frame) frame {
	now := helloTime()
	a := identity.Attest(m.keys, keys.Public(), now.Add(time.Hour))
	ts, sig := identity.SignSessionHello(keys, m.mesh, m.keys.Public(), now)
	return frame{
		"type": "session_hello", "meshId": m.mesh, "parentMemberPubkey": m.keys.Public().String(),
		"sessionPubkey": keys.Public().String(), "timestamp": ts, "signature": sig.String(),
		"parentAttestation": frame{
			"sessionPubkey": a.SessionPubkey.String(), "parentMemberPubkey": a.ParentMemberPubkey.String(),
			"expiresAt": a.ExpiresAt, "signature": a.Signature.String(),
		},
		"sessionId": sessionID, "pid": 1, "cwd": "/", "displayName": sessionID, "succeeds": succeeds,
	}
}

func newKeys(t testing.TB) identity.KeyPair {
	t.Helper()
	keys, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func message(n int, to wire.Key, size int) frame {
	return frame{
		"type": "send", "id": fmt.Sprint(n), "client_message_id": fmt.Sprint("m", n), "targetSpec": to.String(),
		"priority": "now", "nonce": "bm9uY2U=", "ciphertext": strings.Repeat("QUJD", size/4),
	}
}

func TestMessageBetweenSessions(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	a, b := newKeys(t), newKeys(t)
	alice, bob := s.session(m, a, "alice"), s.session(m, b, "bob")
	alice.send(message(1, b.Public(), 1000))
	push := bob.next("push")
	if push["senderPubkey"] != a.Public().String() || push["client_message_id"] != "m1" {
		t.Fatalf("got push %v, want m1 from alice", push)
	}
	bob.send(frame{"type": "client_ack", "clientMessageId": "m1", "brokerMessageId": push["messageId"]})
	if ack := alice.next("ack"); ack["messageId"] != push["messageId"] || ack["queued"] != true {
		t.Fatalf("got ack %v, want queued with the id of the push", ack)
	}
}

// TestSlowReaderDoesNotSlowOthers checks that a peer that does not read neither slows the
// others nor uses unbounded memory.
func TestSlowReaderDoesNotSlowOthers(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	frozen, b := newKeys(t), newKeys(t)
	s.session(m, frozen, "frozen") // never reads again
	alice, bob := s.session(m, newKeys(t), "alice"), s.session(m, b, "bob")
	for i := range 400 {
		alice.send(message(2*i, frozen.Public(), 40_000))
		alice.send(message(2*i+1, b.Public(), 100))
		push := bob.next("push")
		bob.send(frame{"type": "client_ack", "brokerMessageId": push["messageId"]})
		for range 2 {
			if ack := alice.next("ack"); ack["queued"] != true {
				t.Fatalf("got ack %v, want queued", ack)
			}
		}
	}
	if open := s.Stats().Queue.Open; open > 50 {
		t.Errorf("%d messages are in memory for a peer that does not read, want at most 50", open)
	}
}

// TestAcksInOrder checks that acks come in the order of the sends, also if some sends are
// refused.
func TestAcksInOrder(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	b := newKeys(t)
	alice := s.session(m, newKeys(t), "alice")
	s.session(m, b, "bob")
	const n = 200
	for i := range n {
		to := b.Public()
		if i%3 == 0 {
			to = wire.Key{byte(i), 1} // nobody has this key
		}
		alice.send(message(i, to, 100))
	}
	for i := range n {
		ack := alice.next("ack")
		if ack["id"] != fmt.Sprint(i) || (ack["error"] != nil) != (i%3 == 0) {
			t.Fatalf("ack %d: got %v, want id %d with an error: %v", i, ack, i, i%3 == 0)
		}
	}
}

// TestRestart checks that acknowledged messages survive a restart of the broker, and that
// a session that comes back within its lease gets them.
func TestRestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "broker.db")
	var m member
	a, b := newKeys(t), newKeys(t)
	t.Run("before", func(t *testing.T) {
		s := startAt(t, path, nil)
		m = s.owner()
		alice := s.session(m, a, "alice")
		bob := s.session(m, b, "bob")
		for i := range 20 {
			alice.send(message(i, b.Public(), 100))
			alice.next("ack")
			bob.next("push") // bob does not acknowledge it
		}
	})
	s := startAt(t, path, nil)
	bob := s.session(m, b, "bob")
	for i := range 20 {
		if push := bob.next("push"); push["client_message_id"] != fmt.Sprint("m", i) {
			t.Fatalf("push %d: got %v, want m%d", i, push["client_message_id"], i)
		}
	}
	alice := s.session(m, a, "alice")
	alice.send(message(7, b.Public(), 100))
	ack := alice.next("ack")
	alice.send(frame{"type": "message_status", "messageId": ack["messageId"], "_reqId": "q"})
	status := alice.next("message_status_result")
	if status["_reqId"] != "q" || status["delivered"] != false {
		t.Fatalf("status of a repeated send: got %v, want not delivered", status)
	}
}

// TestTransientClaimsNoSessionKey checks that a transient connection cannot claim a
// session key: it is not in the roster, so nobody could check the claim.
func TestTransientClaimsNoSessionKey(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	victim := newKeys(t)
	s.session(m, victim, "victim")
	c := s.dial()
	ts, sig := identity.SignHello(m.keys, m.mesh, m.member, helloTime())
	c.send(frame{
		"type": "hello", "meshId": m.mesh, "memberId": m.member, "pubkey": m.keys.Public().String(),
		"sessionPubkey": victim.Public().String(), "sessionId": "x", "pid": 1, "cwd": "/",
		"timestamp": ts, "signature": sig.String(), "capabilities": []string{wire.CapTransient},
	})
	if e := c.next("error"); e["code"] != string(wire.CodeBadSessionPubkey) {
		t.Fatalf("got %v, want error %s", e, wire.CodeBadSessionPubkey)
	}
}

// TestHookBeforeTheMeshIsLoaded checks that a hook's signal waits for its presence even if
// the mesh of that presence is not in memory.
func TestHookBeforeTheMeshIsLoaded(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	result, err := s.HookStatus(context.Background(), wire.HookStatus{Cwd: "/", PID: 1, Status: wire.Working, SessionID: "early"}, netip.MustParseAddr("127.0.0.1"))
	if err != nil || !result.Pending {
		t.Fatalf("HookStatus = %+v, %v; want pending", result, err)
	}
	c := s.session(m, newKeys(t), "early")
	c.send(frame{"type": "list_peers", "_reqId": "q"})
	peers := c.next("peers_list")["peers"].([]any)
	if got := peers[0].(frame)["status"]; got != "working" {
		t.Fatalf("got status %v, want working", got)
	}
}

// TestNewSessionKeyIsStoredAtOnce checks that a new session key is stored before any peer
// learns of it, so that the broker knows the address even after a crash.
func TestNewSessionKeyIsStoredAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	id, err := wire.ParseID(m.mesh)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		keys := newKeys(t)
		s.session(m, keys, keys.Public().Short())
		known, err := s.store.KnownSessions(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(known, func(k presence.Known) bool { return k.SessionKey == keys.Public() }) {
			t.Fatal("the broker sent hello_ack before the key was stored")
		}
	}
}

// TestReplayAfterRestart checks that a hello accepted by one broker is refused by the next.
func TestReplayAfterRestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "broker.db")
	var hello frame
	t.Run("before", func(t *testing.T) {
		s := startAt(t, path, nil)
		m := s.owner()
		ts, sig := identity.SignHello(m.keys, m.mesh, m.member, helloTime())
		hello = frame{
			"type": "hello", "meshId": m.mesh, "memberId": m.member, "pubkey": m.keys.Public().String(),
			"sessionId": "x", "pid": 1, "cwd": "/", "timestamp": ts, "signature": sig.String(),
		}
		c := s.dial()
		c.send(hello)
		c.next("hello_ack")
	})
	c := startAt(t, path, nil).dial()
	c.send(hello)
	if e := c.next("error"); e["code"] != string(wire.CodeReplayed) {
		t.Fatalf("got %v, want error %s", e, wire.CodeReplayed)
	}
}

// TestMemberKeyIsNoSessionKey checks that a hello cannot claim a member key as its session
// key.
func TestMemberKeyIsNoSessionKey(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	c := s.dial()
	ts, sig := identity.SignHello(m.keys, m.mesh, m.member, helloTime())
	c.send(frame{
		"type": "hello", "meshId": m.mesh, "memberId": m.member, "pubkey": m.keys.Public().String(),
		"sessionPubkey": m.keys.Public().String(), "sessionId": "x", "pid": 1, "cwd": "/", "timestamp": ts, "signature": sig.String(),
	})
	if e := c.next("error"); e["code"] != string(wire.CodeKeyTaken) {
		t.Fatalf("got %v, want error %s", e, wire.CodeKeyTaken)
	}
}

// TestRepeatedSendOutlivesItsRecipient checks that an accepted message that is sent again
// gets the same id, even if its recipient is gone.
func TestRepeatedSendOutlivesItsRecipient(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	claimed := newKeys(t)
	alice, bob := s.session(m, newKeys(t), "alice"), s.dial()
	ts, sig := identity.SignHello(m.keys, m.mesh, m.member, helloTime())
	bob.send(frame{
		"type": "hello", "meshId": m.mesh, "memberId": m.member, "pubkey": m.keys.Public().String(),
		"sessionPubkey": claimed.Public().String(), "sessionId": "x", "pid": 1, "cwd": "/", "timestamp": ts, "signature": sig.String(),
	})
	bob.next("hello_ack")
	alice.send(message(1, claimed.Public(), 100))
	first := alice.next("ack")
	if err := bob.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	again := message(1, claimed.Public(), 100)
	again["_reqId"] = "r"
	alice.send(again)
	if ack := alice.next("ack"); ack["messageId"] != first["messageId"] || ack["_reqId"] != "r" {
		t.Fatalf("got ack %v, want the id of %v and request r", ack, first)
	}
}

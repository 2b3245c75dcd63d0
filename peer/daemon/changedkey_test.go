package daemon

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/brokertest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// liar is a proxy that changes and delays what the broker sends.
type liar struct {
	mu      sync.Mutex
	lie     *strings.Replacer
	hold    string   // part of the frames to delay; "" for none
	delayed []func() // each sends a frame
}

// delay makes the liar keep back all frames that contain a text, until release.
func (l *liar) delay(part string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = part
}

// delays returns how many frames the liar keeps back.
func (l *liar) delays() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.delayed)
}

// tell makes the liar replace the first text of each pair with the second.
func (l *liar) tell(oldnew ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lie = strings.NewReplacer(oldnew...)
}

// told returns what the client gets instead of a frame; nil for nothing yet.
func (l *liar) told(b []byte, send func([]byte)) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hold != "" && bytes.Contains(b, []byte(l.hold)) {
		l.delayed = append(l.delayed, func() { send(b) })
		return nil
	}
	if l.lie == nil {
		return b
	}
	return []byte(l.lie.Replace(string(b)))
}

// release sends what the liar has kept back to everybody, and delays nothing from then on.
func (l *liar) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = ""
	for _, send := range l.delayed {
		send()
	}
	l.delayed = nil
}

// lieTo puts a liar between a user and the broker.
func lieTo(b *brokertest.Server, u *user) *liar {
	u.t.Helper()
	l := &liar{}
	var open sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Done()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		down, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer down.CloseNow()
		up, _, err := websocket.Dial(ctx, b.URL(), nil)
		if err != nil {
			return
		}
		defer up.CloseNow()
		down.SetReadLimit(-1)
		up.SetReadLimit(-1)
		open.Go(func() {
			defer cancel()
			// A liar sends the whole roster each time.
			pass(ctx, down, up, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"since"`), []byte(`"sinc_"`)) })
		})
		pass(ctx, up, down, func(b []byte) []byte {
			return l.told(b, func(b []byte) { _ = down.Write(ctx, websocket.MessageText, b) }) // the client may be gone
		})
	}))
	u.t.Cleanup(func() { server.CloseClientConnections(); server.Close(); open.Wait() })
	err := peer.UpdateConfig(context.Background(), u.dir, func(c *peer.Config) error {
		c.Meshes[0].BrokerURL = "ws" + strings.TrimPrefix(server.URL, "http") + "/ws"
		return nil
	})
	if err != nil {
		u.t.Fatal(err)
	}
	return l
}

func pass(ctx context.Context, from, to *websocket.Conn, change func([]byte) []byte) {
	for {
		kind, b, err := from.Read(ctx)
		if err != nil {
			return
		}
		if b = change(b); b != nil && to.Write(ctx, kind, b) != nil {
			return
		}
	}
}

// refuses expects that a message is not sent, with all of these words.
func (p *program) refuses(in local.Send, words ...string) {
	p.t.Helper()
	in.Text = "secret"
	var sent local.Sent
	err := p.call(local.VerbSend, in, &sent)
	if err == nil {
		p.t.Errorf("sent to %q: %+v", in.To+in.ReplyTo, sent)
		return
	}
	for _, w := range append(words, "nothing was sent", "Tell your user") {
		if !strings.Contains(err.Error(), w) {
			p.t.Errorf("sending to %q: %q does not say %q", in.To+in.ReplyTo, err, w)
		}
	}
}

// member is the member key of the user.
func (u *user) member() wire.Key {
	u.t.Helper()
	config, err := peer.LoadConfig(u.dir)
	if err != nil {
		u.t.Fatal(err)
	}
	return config.Meshes[0].Member.Public()
}

// TestStrangerUnderAName checks that nothing goes to a stranger who joins under the name of bob,
// whom the owner has removed: not by the name, the start of a key, a session or as a reply, until
// the user trusts the stranger.
func TestStrangerUnderAName(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	model := alice.session().connected()
	model.send("bob", "to the true one")

	client := alice.dial(peer.Options{})
	defer client.Close()
	if err := client.MemberRemove(t.Context(), bob.member()); err != nil {
		t.Fatal(err)
	}
	stranger := newUser(t, "bob")
	alice.invite(stranger)
	stranger.up()
	theirs := stranger.session().connected()
	theirs.send("alice-session", "hi, it is bob")
	if got := lines(model.texts(1)); got != "hi, it is bob" {
		t.Fatal(got)
	}
	list, err := client.ListMembers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known, found := bob.member().String()[:16], stranger.member().String()[:16]
	store, err := inbox.Open(t.Context(), alice.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var checked local.Checked
	theirs.send("alice-session", "again")
	await.Until(t, "the second message is there", func() bool {
		model.must(local.VerbCheck, local.Check{ToolUseID: "t2"}, &checked)
		return len(checked.Messages) == 1
	})
	reply := local.Send{ReplyTo: checked.Messages[0].ID}
	model.refuses(local.Send{To: "bob"}, known, found, "claudemesh trust bob")
	model.refuses(local.Send{To: found}, known, found)
	model.refuses(local.Send{To: "bob-session"}, known, found)
	model.refuses(reply, known, found)
	model.send(stranger.member().String(), "a whole key is that key")

	r, err := peer.ResolveMember("bob", alice.member(), list)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Contacts().Accept(t.Context(), alice.status().Meshes[0].MeshID, r, list, time.Now()); err != nil {
		t.Fatal(err)
	}
	model.send("bob", "trusted")
	model.send("bob-session", "trusted")
	reply.Text = "trusted"
	model.must(local.VerbSend, reply, nil)
}

// TestLyingBroker checks that a broker that substitutes its own keys for a member's gets
// nothing.
func TestLyingBroker(t *testing.T) {
	t.Parallel()
	b, alice, bob := pair(t)
	mallory := newUser(t, "mallory")
	alice.invite(mallory)
	l := lieTo(b, alice)
	alice.up()
	bob.up()
	mallory.up()
	model := alice.session().connected()
	theirs, own := bob.session().connected(), mallory.session().connected()
	model.send("bob", "first")
	model.send("bob-session", "first")

	known, forged := bob.member().String(), mallory.member().String()
	for name, lie := range map[string][]string{
		"the member's key":             {known, forged, forged, known},
		"a key that nobody has proven": {known, strings.Repeat("ab", 32)},
	} {
		l.tell(lie...)
		t.Log(name)
		model.refuses(local.Send{To: "bob"}, known[:16])
		model.refuses(local.Send{To: "bob-session"})
	}
	l.tell(theirs.key().String(), own.key().String())
	model.refuses(local.Send{To: "bob-session"}, known[:16], "does not vouch")

	// The broker shows a message from mallory as one from bob.
	l.tell(`"mallory-session"`, `"bob"`)
	own.send("alice-session", "from bob")
	var checked local.Checked
	await.Until(t, "the message is there", func() bool {
		model.must(local.VerbCheck, local.Check{ToolUseID: "t"}, &checked)
		return len(checked.Messages) == 1
	})
	if m := checked.Messages[0]; m.Verified || m.Doubt == "" {
		t.Errorf("it passes as bob's: %+v", m)
	}
	model.refuses(local.Send{ReplyTo: checked.Messages[0].ID}, known[:16])

	l.tell()
	model.send("bob", "the truth again")
	model.send("bob-session", "the truth again")
}

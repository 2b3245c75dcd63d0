package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// window is the number of messages that a raw peer has in flight.
	window = 8
	// returnAfter is its pause before it connects again.
	returnAfter = 200 * time.Millisecond
	// rawPatience is how long a raw peer waits for the broker's answer.
	rawPatience = 15 * time.Second
)

// rawPeer is a session that builds its own v1 frames. It sends without waiting for acks. After
// a reconnect it resends unacknowledged messages in the same order.
type rawPeer struct {
	*party
	mesh    peer.Mesh
	session identity.KeyPair
	ahead   atomic.Int64 // how far its clock is ahead, a time.Duration
	visits  atomic.Int64 // accepted connections
	refused sync.Map     // the codes of refused hellos and messages
	manners manners

	mu      sync.Mutex
	ws      *websocket.Conn // nil if not connected
	letters []*letter       // unacknowledged letters, in the order in which they were handed over
	free    chan struct{}   // a token for each letter that may be in flight
	news    chan struct{}   // of size 1: signals that there is something to write
}

// letter is an outgoing message.
type letter struct {
	id, frame string
	token     bool // whether it holds a token of the window
	fresh     bool // whether it still has to be written on this connection
	refusals  int
}

// addRaw adds a connected raw peer.
func (w *world) addRaw() *rawPeer {
	w.t.Helper()
	a := w.newRaw(w.newParty(fmt.Sprintf("raw%d", len(w.parties)+1)))
	w.raw = append(w.raw, a)
	w.actors.Go(a.live)
	w.eventually(a.name+" is connected", func() bool { return a.visits.Load() > 0 })
	return a
}

// newRaw creates a raw peer without connecting it.
func (w *world) newRaw(p *party) *rawPeer {
	w.t.Helper()
	a := &rawPeer{
		party: p, mesh: w.join(peer.Dir(w.tempDir()), p.name), free: make(chan struct{}, window), news: make(chan struct{}, 1),
	}
	var err error
	a.session, err = identity.Generate()
	w.check(err)
	a.key = a.session.Public().String()
	a.send = a.handOver
	for range window {
		a.free <- struct{}{}
	}
	return a
}

// tempDir creates a directory that is removed with the world.
func (w *world) tempDir() string {
	w.t.Helper()
	return harness.ShortTempDir(w.t)
}

// live connects again and again until the scenario ends.
func (a *rawPeer) live() {
	for a.w.ctx.Err() == nil {
		if ws, err := a.connect(a.w.ctx); err == nil {
			a.visit(ws)
		}
		select {
		case <-time.After(returnAfter):
		case <-a.w.ctx.Done():
		}
	}
}

// connect opens a connection and says hello.
func (a *rawPeer) connect(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, rawPatience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, a.w.url, &websocket.DialOptions{HTTPClient: a.manners.client()})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(8 << 20)
	if err := a.greet(ctx, ws); err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	a.visits.Add(1)
	return ws, nil
}

func (a *rawPeer) greet(ctx context.Context, ws *websocket.Conn) error {
	now := time.Now().Add(time.Duration(a.ahead.Load()))
	member := a.mesh.Member.Public()
	at, signature := identity.SignSessionHello(a.session, a.mesh.MeshID, member, now)
	err := write(ctx, ws, object{
		"type": "session_hello", "meshId": a.mesh.MeshID, "parentMemberId": a.mesh.MemberID, "parentMemberPubkey": member,
		"sessionPubkey": a.session.Public(), "parentAttestation": attestation(identity.Attest(a.mesh.Member, a.session.Public(), now.Add(12*time.Hour))),
		"displayName": a.name, "sessionId": "session-" + a.name, "pid": 4343, "cwd": "/home/" + a.name, "hostname": a.name,
		"peerType": "ai", "channel": "claudemesh-session", "timestamp": at, "signature": signature,
	})
	for err == nil {
		var f inFrame
		if f, err = read(ctx, ws); err != nil {
			break
		}
		switch f.Type {
		case "hello_ack":
			return nil
		case "error":
			a.refused.Store(f.Code, f.Message)
			return errors.New(f.Code)
		}
	}
	return err
}

// attestation returns the JSON object of an attestation.
func attestation(a identity.Attestation) object {
	return object{
		"sessionPubkey": a.SessionPubkey, "parentMemberPubkey": a.ParentMemberPubkey, "expiresAt": a.ExpiresAt, "signature": a.Signature,
	}
}

// visit serves one connection until it breaks.
func (a *rawPeer) visit(ws *websocket.Conn) {
	ctx, cancel := context.WithCancel(a.w.ctx)
	a.mu.Lock()
	a.ws = ws
	a.mu.Unlock()
	var loops sync.WaitGroup
	loops.Go(func() { defer cancel(); a.readLoop(ctx, ws) })
	loops.Go(func() { defer cancel(); pingLoop(ctx, ws) })
	a.startOver()
	for a.writeNext(ctx, ws) {
	}
	cancel()
	a.mu.Lock()
	a.ws = nil
	a.mu.Unlock()
	_ = ws.CloseNow()
	loops.Wait()
}

// awaitRaw waits until all raw peers are connected.
func (w *world) awaitRaw() {
	w.t.Helper()
	for _, a := range w.raw {
		w.eventually(a.name+" is connected", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.ws != nil
		})
	}
}

// hangUp drops the connection; the peer reconnects at once.
func (a *rawPeer) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ws != nil {
		_ = a.ws.CloseNow()
	}
}

// pingLoop pings the broker and returns when the broker doesn't answer.
func pingLoop(ctx context.Context, ws *websocket.Conn) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		patient, cancel := context.WithTimeout(ctx, rawPatience)
		err := ws.Ping(patient)
		cancel()
		if err != nil {
			return
		}
	}
}

// handOver queues a message for the writer, as soon as the window has room.
func (a *rawPeer) handOver(ctx context.Context, d draft) {
	select {
	case <-a.free:
		a.post(d, true)
	case <-ctx.Done():
	}
}

// post queues a message for the writer. token says whether it holds a token of the window.
func (a *rawPeer) post(d draft, token bool) {
	frame, err := a.frame(d)
	if err != nil {
		a.fail("seal %s: %v", d.id, err)
		return
	}
	a.mu.Lock()
	a.letters = append(a.letters, &letter{id: d.id, frame: frame, token: token, fresh: true})
	a.mu.Unlock()
	kick(a.news)
}

func (a *rawPeer) frame(d draft) (string, error) {
	// Like a v1 client: plain text to everybody, sealed to a key.
	nonce, ciphertext := plainNonce, base64Text(d.text())
	if d.target != everybody {
		key, err := wire.ParseKey(d.target)
		if err != nil {
			return "", err
		}
		if nonce, ciphertext, err = envelope.SealDirect(a.session, key, []byte(d.text())); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(object{
		"type": "send", "id": d.id, "client_message_id": d.id, "targetSpec": d.target, "priority": "next",
		"nonce": nonce, "ciphertext": ciphertext,
	})
	return string(b), err
}

// startOver marks every unacknowledged letter to be written again.
func (a *rawPeer) startOver() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.letters {
		l.fresh = true
	}
	kick(a.news)
}

// writeNext writes the pending letters. It returns false when the connection has ended.
func (a *rawPeer) writeNext(ctx context.Context, ws *websocket.Conn) bool {
	select {
	case <-a.news:
	case <-ctx.Done():
		return false
	}
	for {
		frame := ""
		a.mu.Lock()
		for _, l := range a.letters {
			if l.fresh {
				l.fresh, frame = false, l.frame
				break
			}
		}
		a.mu.Unlock()
		if frame == "" {
			return true
		}
		patient, cancel := context.WithTimeout(ctx, rawPatience)
		err := ws.Write(patient, websocket.MessageText, []byte(frame))
		cancel()
		if err != nil {
			return false
		}
	}
}

func (a *rawPeer) readLoop(ctx context.Context, ws *websocket.Conn) {
	deaf := a.manners.deaf.Load()
	for {
		f, err := read(ctx, ws)
		if err != nil {
			return
		}
		switch {
		case f.Type == "ack":
			a.answered(ctx, &f)
			err = a.manners.forge(ctx, ws, &f)
		case f.Type == "push" && f.Subtype == "" && !deaf:
			if id, copied := wire.CopyOf(f.ClientID, a.session.Public()); copied {
				a.arrived(id) // a raw client can't open messages to many, so it gets copies
			} else {
				a.w.ledger.named(f.ClientID, f.MessageID, false)
				a.arrived(f.ClientID)
			}
			err = write(ctx, ws, object{"type": "client_ack", "clientMessageId": f.ClientID, "brokerMessageId": f.MessageID})
		case f.Type == "error":
			a.fail("error %s: %s", f.Code, f.Message)
		}
		if err != nil {
			return
		}
	}
}

// permanent matches the errors on which v1 clients give up a message at once.
var permanent = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|not_found|payload_too_large|schema|auth|signature`)

// answered handles the ack of a message. A refused message goes to the end of the queue and is
// resent after a moment.
func (a *rawPeer) answered(ctx context.Context, f *inFrame) {
	if f.Queued {
		a.w.ledger.named(f.ID, f.MessageID, true)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, l := range a.letters {
		if l.id != f.ID {
			continue
		}
		a.letters = append(a.letters[:i], a.letters[i+1:]...)
		if f.Error == "" && f.Queued {
			a.w.ledger.ack(l.id)
			if l.token {
				a.free <- struct{}{}
			}
			return
		}
		if permanent.MatchString(f.Error) {
			a.fail("%s was refused permanently: %s", l.id, f.Error)
		}
		code, reason, _ := strings.Cut(f.Error, ": ")
		a.refused.Store(code, reason)
		a.w.ledger.refuse(l.id)
		a.letters = append(a.letters, l)
		pause := returnAfter << min(l.refusals, 4)
		l.refusals++
		a.w.actors.Go(func() { a.writeLater(ctx, l, pause) })
		return
	}
}

func (a *rawPeer) writeLater(ctx context.Context, l *letter, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return // the next connection resends it
	}
	a.mu.Lock()
	l.fresh = true
	a.mu.Unlock()
	kick(a.news)
}

func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

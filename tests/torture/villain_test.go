package torture

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// sockets is how many connections a villain has for most of what it does.
const sockets = 20

// enter connects a session of the villain, which is not held against the broker when it
// does not succeed.
func (v *villain) enter(who *rawPeer) *websocket.Conn {
	ws, err := who.connect(v.ctx)
	if err != nil {
		if v.ctx.Err() == nil {
			v.refused.Add(1)
		}
		return nil
	}
	return ws
}

// onSockets has something done on many connections of the villain's until the end. Each
// is opened again when it has ended.
func (v *villain) onSockets(n int, do func(ctx context.Context, ws *websocket.Conn)) {
	for range n {
		who := v.member.sibling()
		v.actors.Go(func() {
			for v.ctx.Err() == nil {
				if ws := v.enter(who); ws != nil {
					do(v.ctx, ws)
					_ = ws.CloseNow()
					continue
				}
				v.rest(returnAfter)
			}
		})
	}
}

func (v *villain) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-v.ctx.Done():
	}
}

// flood writes frames until the connection ends, up to 2,000 a second and 6 MB: on many
// connections that is ten times what the broker serves one member. To fill the buffers of
// the connections at once would cost the broker nothing, and take the processor away from
// the innocent, who are in this process.
func (v *villain) flood(ctx context.Context, ws *websocket.Conn, frame func(n int) []byte) {
	const frames, bytes = 20, 64 << 10 // in one go
	sent, size := 0, 0
	for n := 0; ; n++ {
		f := frame(n)
		if ws.Write(ctx, websocket.MessageText, f) != nil {
			return
		}
		if sent, size = sent+1, size+len(f); sent == frames || size >= bytes {
			v.rest(10 * time.Millisecond)
			sent, size = 0, 0
		}
	}
}

// listen counts what the villain is refused.
func (v *villain) listen(ctx context.Context, ws *websocket.Conn) {
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return
		}
		var f inFrame
		if len(b) < 1000 && json.Unmarshal(b, &f) == nil && (f.Type == "error" || f.Error != "") {
			v.refused.Add(1)
		}
	}
}

// floodAndListen does both.
func (v *villain) floodAndListen(frame func(n int) []byte) func(context.Context, *websocket.Conn) {
	return func(ctx context.Context, ws *websocket.Conn) {
		v.actors.Go(func() { v.listen(ctx, ws) })
		v.flood(ctx, ws, frame)
	}
}

// always is the same frame every time: a villain should be cheap.
func always(o object) func(int) []byte {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return func(int) []byte { return b }
}

var listPeers = always(object{"type": "list_peers", "_reqId": "r"})

// askAndNotRead asks for the roster on many sockets and reads none of the answers.
func (v *villain) askAndNotRead() {
	v.onSockets(sockets, func(ctx context.Context, ws *websocket.Conn) { v.flood(ctx, ws, listPeers) })
}

// askAndRead reads them.
func (v *villain) askAndRead() { v.onSockets(sockets, v.floodAndListen(listPeers)) }

// neverAcknowledge sends to many sessions of its own that read, and acknowledge nothing.
func (v *villain) neverAcknowledge() {
	targets := make([]string, 0, 256)
	for range min(crowdSize(), 256) {
		who := v.member.sibling()
		ws, err := who.connectPatiently(v.ctx)
		v.world.check(err)
		targets = append(targets, who.session.Public().String())
		v.actors.Go(func() { takeAll(v.ctx, ws, false) })
	}
	send := always(object{"type": "send", "targetSpec": targets, "priority": "now", "nonce": plainNonce, "ciphertext": "AAAA"})
	v.onSockets(1, v.floodAndListen(func(n int) []byte {
		v.rest(50 * time.Millisecond)
		return send(n)
	}))
}

// shoutTiny sends as little as can be to everybody, as often as it may.
func (v *villain) shoutTiny() {
	v.onSockets(1, v.floodAndListen(always(object{
		"type": "send", "targetSpec": everybody, "priority": "now", "nonce": plainNonce, "ciphertext": "AAAA",
	})))
}

// comeUnderNewKeys begins one session after the other.
func (v *villain) comeUnderNewKeys() {
	for range sockets {
		v.actors.Go(func() {
			for v.ctx.Err() == nil {
				if ws := v.enter(v.member.sibling()); ws != nil {
					_ = ws.CloseNow()
				}
			}
		})
	}
}

// sayHello says hello with what is no presence, and goes.
func (v *villain) sayHello() {
	for range sockets {
		v.actors.Go(func() {
			for v.ctx.Err() == nil {
				v.helloOnce()
			}
		})
	}
}

func (v *villain) helloOnce() {
	ws, _, err := websocket.Dial(v.ctx, v.world.url, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	m := &v.member.mesh
	at, signature := identity.SignHello(m.Member, m.MeshID, m.MemberID, time.Now())
	err = write(v.ctx, ws, object{
		"type": "hello", "meshId": m.MeshID, "memberId": m.MemberID, "pubkey": m.Member.Public(), "sessionId": "x", "pid": 1, "cwd": "/",
		"timestamp": at, "signature": signature, "capabilities": []string{"transient"},
	})
	if f, readErr := read(v.ctx, ws); err == nil && readErr == nil && f.Type == "error" {
		v.refused.Add(1)
	}
}

// changeProfile changes its profile, and hides and shows itself, as fast as it can.
func (v *villain) changeProfile() {
	hide, show := always(object{"type": "set_visible", "visible": false, "_reqId": "r"}), always(object{"type": "set_visible", "visible": true, "_reqId": "r"})
	change := always(object{"type": "set_profile", "title": "somebody", "bio": strings.Repeat("x", 1000), "_reqId": "r"})
	v.onSockets(sockets, v.floodAndListen(func(n int) []byte { return []func(int) []byte{hide, show, change, change}[n%4](n) }))
}

// writeJunk writes large frames that mean nothing.
func (v *villain) writeJunk() {
	junk := strings.Repeat(`{"a":[1,2,3]},`, 4000)
	v.onSockets(sockets, v.floodAndListen(always(object{"type": "junk", "junk": junk})))
}

// postSlowly begins many requests whose bodies do not end.
func (v *villain) postSlowly() {
	for range 10 * sockets {
		v.actors.Go(func() {
			for v.ctx.Err() == nil {
				r, err := http.NewRequestWithContext(v.ctx, http.MethodPost, v.world.broker.URL("/hook/set-status"), &dripping{v: v})
				if err != nil {
					return
				}
				if res, err := harness.HTTPClient.Do(r); err == nil {
					_ = res.Body.Close()
					v.refused.Add(1)
				}
				v.rest(returnAfter)
			}
		})
	}
}

// dripping is a body of a byte a second.
type dripping struct{ v *villain }

func (d *dripping) Read(b []byte) (int, error) {
	d.v.rest(time.Second)
	if d.v.ctx.Err() != nil {
		return 0, io.ErrUnexpectedEOF
	}
	b[0] = ' '
	return 1, nil
}

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

// sockets is the number of connections that a villain uses for most abuses.
const sockets = 20

// enter connects a session of the villain. Failing to connect isn't an error.
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

// onSockets calls do on n connections of the villain until the abuse ends. It reopens each
// connection that closes.
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

// flood writes frames until the connection ends, up to 2,000 frames and 6 MB a second. On many
// connections that is ten times what the broker serves one member. Writing faster would cost
// the broker nothing more and would slow down the innocent peers in this process.
func (v *villain) flood(ctx context.Context, ws *websocket.Conn, frame func(n int) []byte) {
	const frames, bytes = 20, 64 << 10 // per write
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

// listen counts the refusals that the villain gets.
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

// floodAndListen returns a function that does both.
func (v *villain) floodAndListen(frame func(n int) []byte) func(context.Context, *websocket.Conn) {
	return func(ctx context.Context, ws *websocket.Conn) {
		v.actors.Go(func() { v.listen(ctx, ws) })
		v.flood(ctx, ws, frame)
	}
}

// always returns a function that returns the same frame every time, to keep the villain cheap.
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

// askAndRead does the same but reads the answers.
func (v *villain) askAndRead() { v.onSockets(sockets, v.floodAndListen(listPeers)) }

// neverAcknowledge sends to many of its own sessions, which read but acknowledge nothing.
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

// shoutTiny broadcasts tiny messages at the maximum rate.
func (v *villain) shoutTiny() {
	v.onSockets(1, v.floodAndListen(always(object{
		"type": "send", "targetSpec": everybody, "priority": "now", "nonce": plainNonce, "ciphertext": "AAAA",
	})))
}

// comeUnderNewKeys starts one new session after another.
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

// sayHello connects without a presence and disconnects.
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

// changeProfile changes its profile and its visibility as fast as it can.
func (v *villain) changeProfile() {
	hide, show := always(object{"type": "set_visible", "visible": false, "_reqId": "r"}), always(object{"type": "set_visible", "visible": true, "_reqId": "r"})
	change := always(object{"type": "set_profile", "title": "somebody", "bio": strings.Repeat("x", 1000), "_reqId": "r"})
	v.onSockets(sockets, v.floodAndListen(func(n int) []byte { return []func(int) []byte{hide, show, change, change}[n%4](n) }))
}

// writeJunk writes large meaningless frames.
func (v *villain) writeJunk() {
	junk := strings.Repeat(`{"a":[1,2,3]},`, 4000)
	v.onSockets(sockets, v.floodAndListen(always(object{"type": "junk", "junk": junk})))
}

// postSlowly starts many requests with endless bodies.
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

// dripping is a body that yields one byte a second.
type dripping struct{ v *villain }

func (d *dripping) Read(b []byte) (int, error) {
	d.v.rest(time.Second)
	if d.v.ctx.Err() != nil {
		return 0, io.ErrUnexpectedEOF
	}
	b[0] = ' '
	return 1, nil
}

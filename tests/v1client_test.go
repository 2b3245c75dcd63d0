package tests

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// frame is one raw message of protocol v1.
type frame map[string]any

func (f frame) str(name string) string { s, _ := f[name].(string); return s }

// list returns a list of objects.
func (f frame) list(name string) []frame {
	items, _ := f[name].([]any)
	out := make([]frame, 0, len(items))
	for _, item := range items {
		m, _ := item.(map[string]any)
		out = append(out, m)
	}
	return out
}

func (f frame) String() string {
	b, err := json.Marshal(map[string]any(f))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// v1Client is one connection of a strict v1 client. It keeps received messages until the
// test asks for them, and fails the test if a message lacks what protocol v1 promises.
type v1Client struct {
	t  testing.TB
	ws *websocket.Conn

	mu     sync.Mutex
	got    []frame       // received messages that the test hasn't asked for, in order
	news   chan struct{} // closed and replaced whenever got or ended changes
	ended  error         // why the socket closed
	reqs   int
	ack    frame // hello_ack, set by the hello helpers
	exotic bool  // whether the test sends types outside the protocol's core
}

// dial opens a socket and sends nothing.
func (s *server) dial(t testing.TB) *v1Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, s.WSURL(), nil)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	ws.SetReadLimit(1 << 20)
	c := &v1Client{t: t, ws: ws, news: make(chan struct{})}
	t.Cleanup(c.drop)
	go c.readLoop()
	return c
}

func (c *v1Client) readLoop() {
	for {
		_, data, err := c.ws.Read(context.Background())
		c.mu.Lock()
		if err != nil {
			c.ended = err
		} else {
			f := frame{}
			if err := json.Unmarshal(data, &f); err != nil {
				c.t.Errorf("the broker sent something that isn't a JSON object: %q", data)
			}
			if complaint := complain(f); complaint != "" {
				c.t.Errorf("%s in %s", complaint, f)
			}
			if f.str("code") == "unknown_message_type" && !c.exotic {
				c.t.Errorf("a v1 client would stop permanently on %s", f)
			}
			c.got = append(c.got, f)
		}
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// required lists the fields that protocol v1 promises, with their types, by message type.
var required = map[string]map[string]string{
	"hello_ack": {"presenceId": "id", "memberDisplayName": "string", "memberProfile": "object", "meshPolicy": "object"},
	"ack":       {"id": "string", "messageId": "string", "queued": "bool"},
	"push": {"messageId": "string", "meshId": "id", "senderPubkey": "string", "priority": "string",
		"nonce": "string", "ciphertext": "string", "createdAt": "time"},
	"peers_list":            {"peers": "list"},
	"message_status_result": {"messageId": "id", "targetSpec": "string", "delivered": "bool", "recipients": "list"},
	"error":                 {"code": "string", "message": "string"},
}

var (
	idPattern   = regexp.MustCompile(`^[A-Za-z0-9]{8,32}$`)
	keyPattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	timePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
)

// complain returns what is wrong with a message from the broker, "" if nothing is.
func complain(f frame) string {
	fields := required[f.str("type")]
	for name, kind := range fields {
		if !isKind(f[name], kind) {
			return fmt.Sprintf("%s isn't a %s", name, kind)
		}
	}
	if f.str("type") != "push" || f.str("subtype") == "system" {
		return ""
	}
	switch {
	case !keyPattern.MatchString(f.str("senderPubkey")):
		return "senderPubkey isn't a key"
	case !slices.Contains([]string{"now", "next", "low"}, f.str("priority")):
		return "priority isn't one of the three"
	case !idPattern.MatchString(f.str("messageId")):
		return "messageId isn't an id"
	}
	return ""
}

func isKind(v any, kind string) bool {
	s, isString := v.(string)
	switch kind {
	case "string":
		return isString
	case "id":
		return isString && idPattern.MatchString(s)
	case "time":
		return isString && timePattern.MatchString(s)
	case "bool":
		_, ok := v.(bool)
		return ok
	case "object":
		_, ok := v.(map[string]any)
		return ok
	case "list":
		_, ok := v.([]any)
		return ok
	}
	return false
}

// write sends a message.
func (c *v1Client) write(f frame) {
	c.t.Helper()
	c.writeRaw(websocket.MessageText, toJSON(c.t, f))
}

func (c *v1Client) writeRaw(kind websocket.MessageType, text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, kind, []byte(text)); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// take removes the first matching message from the received ones and returns it.
func (c *v1Client) take(fits func(frame) bool) (f frame, ended error, news chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.got, fits); i >= 0 {
		f = c.got[i]
		c.got = slices.Delete(c.got, i, i+1)
	}
	return f, c.ended, c.news
}

// await returns the first matching message. It waits for the message if necessary.
func (c *v1Client) await(what string, fits func(frame) bool) frame {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		f, ended, news := c.take(fits)
		if f != nil {
			return f
		}
		if ended != nil {
			c.t.Fatalf("%s did not come; the socket ended: %v", what, ended)
		}
		select {
		case <-news:
		case <-timeout:
			c.t.Fatalf("timed out waiting for %s; got %v", what, c.peek())
		}
	}
}

func (c *v1Client) peek() []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

func ofType(name string) func(frame) bool {
	return func(f frame) bool { return f.str("type") == name }
}

func isMessage(f frame) bool {
	return f.str("type") == "push" && f.str("subtype") != "system"
}

func isEvent(name string) func(frame) bool {
	return func(f frame) bool { return f.str("subtype") == "system" && f.str("event") == name }
}

// request sends a request and returns the answer that echoes its id.
func (c *v1Client) request(f frame) frame {
	c.t.Helper()
	c.mu.Lock()
	c.reqs++
	id := fmt.Sprintf("req-%d", c.reqs)
	c.mu.Unlock()
	f["_reqId"] = id
	c.write(f)
	return c.await("the answer to "+f.str("type"), func(f frame) bool { return f.str("_reqId") == id })
}

// sync waits until everything that the broker has queued for this connection has arrived. It
// relies on the order of answers and pushes.
func (c *v1Client) sync() {
	c.t.Helper()
	c.peers()
}

// peers returns the roster.
func (c *v1Client) peers() []frame {
	c.t.Helper()
	answer := c.request(frame{"type": "list_peers"})
	if answer.str("type") != "peers_list" {
		c.t.Fatalf("list_peers: %s", answer)
	}
	return answer.list("peers")
}

// row returns a presence's row in the roster by session id, nil if there is none.
func (c *v1Client) row(sessionID string) frame {
	c.t.Helper()
	for _, p := range c.peers() {
		if p.str("sessionId") == sessionID {
			return p
		}
	}
	return nil
}

// none waits until all messages in flight have arrived and fails if one matches.
func (c *v1Client) none(what string, fits func(frame) bool) {
	c.t.Helper()
	c.sync()
	if f, _, _ := c.take(fits); f != nil {
		c.t.Errorf("%s came: %s", what, f)
	}
}

// message waits for a message and acknowledges it.
func (c *v1Client) message() frame {
	c.t.Helper()
	m := c.await("a message", isMessage)
	c.confirm(m)
	return m
}

// confirm acknowledges a message like a v1 client.
func (c *v1Client) confirm(m frame) {
	c.t.Helper()
	id := m.str("client_message_id")
	if id == "" {
		id = m.str("messageId")
	}
	c.write(frame{"type": "client_ack", "clientMessageId": id, "brokerMessageId": m.str("messageId")})
}

// text returns the plain text of a v1 broadcast. Tests use its format for all messages.
func text(m frame) string {
	b, err := base64.StdEncoding.DecodeString(m.str("ciphertext"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// texts receives n messages and returns their texts in order of arrival.
func (c *v1Client) texts(n int) []string {
	c.t.Helper()
	out := make([]string, n)
	for i := range out {
		out[i] = text(c.message())
	}
	return out
}

// draft returns a send whose ciphertext is the base64 of body.
func draft(target any, body string, fields ...any) frame {
	f := frame{
		"type": "send", "id": uniqueID(), "targetSpec": target, "priority": "next",
		"nonce":      base64.StdEncoding.EncodeToString(make([]byte, 24)),
		"ciphertext": base64.StdEncoding.EncodeToString([]byte(body)),
	}
	for i := 0; i+1 < len(fields); i += 2 {
		f[fields[i].(string)] = fields[i+1]
	}
	return f
}

// post sends a message and returns its ack.
func (c *v1Client) post(f frame) frame {
	c.t.Helper()
	c.write(f)
	return c.await("the ack", func(a frame) bool { return a.str("type") == "ack" && a.str("id") == f.str("id") })
}

// send sends a text that must be accepted and returns the message's id.
func (c *v1Client) send(target any, body string, fields ...any) string {
	c.t.Helper()
	ack := c.post(draft(target, body, fields...))
	if ack["queued"] != true || ack["error"] != nil || !idPattern.MatchString(ack.str("messageId")) {
		c.t.Fatalf("send %q to %v: %s", body, target, ack)
	}
	return ack.str("messageId")
}

// refused sends a message that must be refused and returns the error.
func (c *v1Client) refused(f frame) string {
	c.t.Helper()
	ack := c.post(f)
	if ack["queued"] != false || ack.str("messageId") != "" || ack.str("error") == "" {
		c.t.Fatalf("not refused: %s", ack)
	}
	return ack.str("error")
}

// permanent matches the errors on which v1 clients give up a message at once.
var permanent = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|not_found|payload_too_large|schema|auth|signature`)

// finalForSessions matches the errors on which v1 sessions do so.
var finalForSessions = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|target_not_found`)

// awaitEnd waits until the socket closes.
func (c *v1Client) awaitEnd() error {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		_, ended, news := c.take(func(frame) bool { return false })
		if ended != nil {
			return ended
		}
		select {
		case <-news:
		case <-timeout:
			c.t.Fatal("the broker did not close the socket")
		}
	}
}

// awaitClose waits for a close frame with this code and reason.
func (c *v1Client) awaitClose(code int, reason string) {
	c.t.Helper()
	err := c.awaitEnd()
	var closed websocket.CloseError
	if !errors.As(err, &closed) || int(closed.Code) != code || closed.Reason != reason {
		c.t.Errorf("closed with %v, want %d %s", err, code, reason)
	}
}

// leave closes the socket properly, like a v1 client, with an empty close frame. It returns
// when the broker has answered.
func (c *v1Client) leave() { _ = c.ws.Close(websocket.StatusNoStatusRcvd, "") }

// drop breaks the socket without a close frame.
func (c *v1Client) drop() { _ = c.ws.CloseNow() }

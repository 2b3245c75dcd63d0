package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/wire"
)

// Server is a relay. The zero value is ready to use. A Server is safe for concurrent use. It serves
// each WebSocket until the peer leaves or the process ends.
type Server struct {
	conns sync.Map // session key in hex → *conn
}

// ServeHTTP serves WebSockets at /ws and answers /health like a broker.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ws":
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			CompressionMode: websocket.CompressionDisabled, InsecureSkipVerify: true,
		})
		if err != nil {
			return // Accept has answered
		}
		ws.SetReadLimit(256 << 10)
		go (&conn{server: s, ws: ws}).serve() // the broker also returns, so that net/http frees the request
	case "/health":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(wire.Health{Status: "ok", DB: "up", Version: "bare relay"})
	default:
		http.NotFound(w, r)
	}
}

// conn is one session. Its reader owns all fields except ws.
type conn struct {
	server *Server
	ws     *websocket.Conn
	hello  hello
	push   template
	ack    []byte
}

type hello struct {
	MeshID      wire.ID           `json:"meshId"`
	SessionKey  wire.Key          `json:"sessionPubkey"`
	Name        string            `json:"displayName"`
	Attestation *wire.Attestation `json:"parentAttestation"`
}

// buffers holds buffers for incoming frames, like the broker's.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (c *conn) serve() {
	defer c.leave()
	for {
		_, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return
		}
		frame := buffers.Get().(*bytes.Buffer)
		frame.Reset()
		if _, err = frame.ReadFrom(r); err == nil {
			err = c.take(frame.Bytes())
		}
		buffers.Put(frame)
		if err != nil {
			return
		}
	}
}

func (c *conn) leave() {
	c.server.conns.CompareAndDelete(c.hello.SessionKey.String(), c)
	_ = c.ws.CloseNow()
}

var (
	sendStart  = []byte(`{"type":"send"`)
	helloStart = []byte(`{"type":"session_hello"`)

	idField         = []byte(`"id":"`)
	clientIDField   = []byte(`"client_message_id":"`)
	messageIDField  = []byte(`"messageId":"`)
	targetField     = []byte(`"targetSpec":"`)
	nonceField      = []byte(`"nonce":"`)
	ciphertextField = []byte(`"ciphertext":"`)
)

func (c *conn) take(frame []byte) error {
	switch {
	case bytes.HasPrefix(frame, sendStart):
		return c.pass(frame)
	case bytes.HasPrefix(frame, helloStart):
		if err := json.Unmarshal(frame, &c.hello); err != nil {
			return err
		}
		c.server.conns.Store(c.hello.SessionKey.String(), c)
		return c.write([]byte(`{"type":"hello_ack"}`))
	}
	return nil
}

// pass pushes a message to its recipient, if connected, and acknowledges the message.
func (c *conn) pass(frame []byte) error {
	if len(c.push.ciphertext) != len(field(frame, ciphertextField)) {
		c.prepare(frame)
	}
	id := field(frame, idField)
	copy(c.push.nonce, field(frame, nonceField))
	copy(c.push.ciphertext, field(frame, ciphertextField))
	copy(c.push.clientID, field(frame, clientIDField))
	copy(c.push.messageID, id)
	if to, ok := c.server.conns.Load(string(field(frame, targetField))); ok {
		if to.(*conn).write(c.push.frame) != nil {
			to.(*conn).leave()
		}
	}
	copy(field(c.ack, idField), id)
	copy(field(c.ack, messageIDField), id)
	return c.write(c.ack)
}

// template is a push frame that is overwritten for each message.
type template struct {
	frame                                  []byte
	nonce, ciphertext, clientID, messageID []byte // slices of frame
}

// prepare creates the frames for messages like this one, with the fields that the broker adds.
func (c *conn) prepare(like []byte) {
	id := string(field(like, idField))
	push := wire.Push{
		MessageID: strings.Repeat("0", 32), MeshID: c.hello.MeshID, SenderPubkey: c.hello.SessionKey, SenderName: c.hello.Name,
		Priority: wire.Next, Nonce: string(field(like, nonceField)), Ciphertext: string(field(like, ciphertextField)),
		CreatedAt: time.Now(), ClientID: string(field(like, clientIDField)), SenderAttestation: c.hello.Attestation,
	}
	frame := push.AppendJSON(nil)
	c.push = template{
		frame: frame, nonce: field(frame, nonceField), ciphertext: field(frame, ciphertextField),
		clientID: field(frame, clientIDField), messageID: field(frame, messageIDField),
	}
	c.ack = []byte(`{"type":"ack","id":"` + id + `","messageId":"` + strings.Repeat("0", 32) + `","queued":true}`)
}

func (c *conn) write(frame []byte) error {
	return c.ws.Write(context.Background(), websocket.MessageText, frame)
}

// field returns the value of a string field as a slice of the frame. The value must not contain
// escapes.
func field(frame, name []byte) []byte {
	_, rest, ok := bytes.Cut(frame, name)
	if !ok {
		return nil
	}
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil
	}
	return rest[:end:end]
}

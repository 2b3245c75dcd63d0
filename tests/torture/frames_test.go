package torture

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/coder/websocket"
)

// object is an outgoing frame.
type object map[string]any

// inFrame holds the relevant fields of a frame from the broker.
type inFrame struct {
	Type      string `json:"type"`
	Subtype   string `json:"subtype"`
	ID        string `json:"id"`
	MessageID string `json:"messageId"`
	ClientID  string `json:"client_message_id"`
	Queued    bool   `json:"queued"`
	Error     string `json:"error"`
	Code      string `json:"code"`
	Message   string `json:"message"`
}

func write(ctx context.Context, ws *websocket.Conn, o object) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rawPatience)
	defer cancel()
	return ws.Write(ctx, websocket.MessageText, b)
}

func read(ctx context.Context, ws *websocket.Conn) (f inFrame, err error) {
	_, b, err := ws.Read(ctx)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("%w in %q", err, b)
	}
	return f, nil
}

// plainNonce is the nonce of an unsealed text.
var plainNonce = base64.StdEncoding.EncodeToString(make([]byte, 24))

func base64Text(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

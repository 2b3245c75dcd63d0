package caddymesh

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/wire"
)

// owner is the connected owner of a new mesh.
type owner struct {
	t      *testing.T
	ws     *websocket.Conn
	meshID string
}

// createMesh creates a mesh over HTTP and connects its owner.
func (s *testServer) createMesh(name string) *owner {
	s.t.Helper()
	key, err := identity.Generate()
	if err != nil {
		s.t.Fatal(err)
	}
	now := time.Now()
	request := wire.CreateMesh{
		Slug: "team", Name: name, OwnerPubkey: key.Public().String(), DisplayName: "Ada", Timestamp: now.UnixMilli(),
	}
	text := wire.CreateMeshSigningText(request.Slug, request.Name, request.DisplayName, key.Public(), request.Timestamp)
	request.Signature = key.Sign(text).String()
	body, err := json.Marshal(request)
	if err != nil {
		s.t.Fatal(err)
	}
	response, answer := s.do("POST", "/meshes", string(body))
	var created wire.CreateMeshResult
	if err := json.Unmarshal([]byte(answer), &created); err != nil || response.StatusCode != 200 {
		s.t.Fatalf("create: %d %s", response.StatusCode, answer)
	}

	o := &owner{t: s.t, ws: s.dial(), meshID: created.MeshID.String()}
	timestamp, sig := identity.SignHello(key, o.meshID, created.MemberID.String(), now)
	o.ask("hello_ack", map[string]any{
		"type": "hello", "meshId": o.meshID, "memberId": created.MemberID.String(), "pubkey": key.Public().String(),
		"sessionId": "daemon-1", "pid": 1, "cwd": "/", "timestamp": timestamp, "signature": sig.String(),
	})
	return o
}

// ask sends a message and reads until an answer of the given type arrives.
func (o *owner) ask(answer string, message map[string]any) map[string]any {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), await.Patience)
	defer cancel()
	b, err := json.Marshal(message)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := o.ws.Write(ctx, websocket.MessageText, b); err != nil {
		o.t.Fatal(err)
	}
	for {
		_, frame, err := o.ws.Read(ctx)
		if err != nil {
			o.t.Fatalf("waiting for %s: %v", answer, err)
		}
		var got map[string]any
		if err := json.Unmarshal(frame, &got); err != nil {
			o.t.Fatal(err)
		}
		switch got["type"] {
		case answer:
			return got
		case "error":
			o.t.Fatalf("waiting for %s: %s", answer, frame)
		}
	}
}

// invite creates a link and returns its code and the invite's id.
func (o *owner) invite() (code, id string) {
	o.t.Helper()
	claim, err := identity.Generate()
	if err != nil {
		o.t.Fatal(err)
	}
	code = strings.Repeat("c0de", 4) + claim.Public().String()[:8]
	created := o.ask("invite_created", map[string]any{
		"type": "invite_create", "role": "admin", "uses": 1, "expiresAt": time.Now().Add(time.Hour).UnixMilli(),
		"code": code, "claimPubkey": claim.Public().String(), "sealedRootKey": strings.Repeat("A", 64),
		"groups": []map[string]any{{"name": "backend"}}, "_reqId": "i",
	})
	return code, created["inviteId"].(string)
}

func TestReloadKeepsMembersOnline(t *testing.T) {
	s := startServer(t)
	o := s.createMesh("Release Team")
	if err := s.load("status_ttl 5m"); err != nil {
		t.Fatal(err)
	}
	list := o.ask("peers_list", map[string]any{"type": "list_peers", "_reqId": "p"})
	if peers := list["peers"].([]any); len(peers) != 1 {
		t.Errorf("peers after the reload: %v", peers)
	}
}

func TestRestartKeepsTheMesh(t *testing.T) {
	s := startServer(t)
	o := s.createMesh("Release Team")
	code, _ := o.invite()
	o.ws.CloseNow()                                   // nobody reads from it, so the broker would wait for its close handshake
	if err := s.loadSite("respond 204"); err != nil { // the broker stops
		t.Fatal(err)
	}
	if err := s.load(); err != nil { // another starts on the same file
		t.Fatal(err)
	}
	if response, body := s.do("GET", "/i/"+code, "", "Accept", "application/json"); response.StatusCode != 200 {
		t.Errorf("got status %d: %s", response.StatusCode, body)
	}
}

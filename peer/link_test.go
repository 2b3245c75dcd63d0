package peer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

func TestLinkInvite(t *testing.T) {
	t.Parallel()
	m := testMesh(t, "m1", "team")
	owner := newKey(t).Public()
	terms := InviteTerms{Role: "member", Uses: 3, ExpiresAt: time.Now().Add(time.Hour), Groups: []wire.Group{{Name: "a"}}}
	link, create, err := NewLinkInvite(&m, owner, terms)
	if err != nil {
		t.Fatal(err)
	}
	text := link.URL()
	if !strings.HasPrefix(text, "https://host/i/"+create.Code+"#") {
		t.Errorf("link %s", text)
	}
	told, err := json.Marshal(create)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(told), m.Key.Encode()) || strings.Contains(string(told), link.Secret.Encode()) {
		t.Error("the request to the broker contains a secret")
	}
	if create.Uses != 3 || create.Role != "member" || create.Groups[0].Name != "a" || create.ExpiresAt != terms.ExpiresAt.UnixMilli() || create.TokenProof != "" {
		t.Errorf("got %+v", create)
	}
	back, err := ParseLink(" " + text + "\n")
	if err != nil || back.BrokerURL != "wss://host/ws" || back.Code != create.Code || back.URL() != text {
		t.Fatalf("got %+v, %v", back, err)
	}
	payload, err := back.Secret.OpenInvite(create.SealedRootKey)
	if err != nil || payload.RootKey != m.Key.Encode() || payload.OwnerPubkey != owner || payload.MeshID != "m1" {
		t.Errorf("got %v, %v", payload, err)
	}
	if back.Secret.ClaimKey().Public().String() != create.ClaimPubkey {
		t.Error("the parsed link has another claim key")
	}
}

// TestLinkBelowAPath checks that a broker may be below a path of a host, with all its
// routes.
func TestLinkBelowAPath(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "/mesh", "/a/b.c/d~e", "/mit%20raum"} {
		m := testMesh(t, "m1", "team")
		m.BrokerURL = "wss://host:8443" + base + "/ws"
		link, _, err := NewLinkInvite(&m, m.Member.Public(), InviteTerms{Role: "member", Uses: 1, ExpiresAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if want := "https://host:8443" + base + "/i/" + link.Code + "#"; !strings.HasPrefix(link.URL(), want) {
			t.Errorf("link %s, want %s…", link.URL(), want)
		}
		if back, err := ParseLink(link.URL()); err != nil || back.BrokerURL != m.BrokerURL {
			t.Errorf("%s: broker %s, %v", link.URL(), back.BrokerURL, err)
		}
	}
	for socket, want := range map[string]string{
		"ws://h/ws": "http://h", "wss://h/mesh/ws": "https://h/mesh", "ws://h": "http://h", "ws://h/": "http://h",
		"ws://h/socket": "http://h", "ws://h/a/../ws": "http://h", "ws://h//ws": "http://h",
	} {
		if site, err := siteURL(socket); err != nil || site.String() != want {
			t.Errorf("%s: %s, %v; want %s", socket, site, err, want)
		}
	}
}

func TestTokenInvite(t *testing.T) {
	t.Parallel()
	m := testMesh(t, "m1", "team")
	expires := time.Now().Add(time.Hour)
	link, create, err := NewTokenInvite(&m, InviteTerms{Role: "member", Uses: 1, ExpiresAt: expires})
	if err != nil {
		t.Fatal(err)
	}
	if create.ExpiresAt != expires.Unix()*1000 || create.TokenProof != link.tokenProof() || len(create.TokenProof) != 64 || create.Code != "" {
		t.Errorf("got %+v", create)
	}
	for _, text := range []string{link.URL(), "https://claudemesh.example/join/" + link.Token, "https://x/de/join/" + link.Token} {
		back, err := ParseLink(text)
		if err != nil || back.BrokerURL != m.BrokerURL || back.Invite != link.Invite || back.Invite.OwnerPubkey != m.Member.Public().String() {
			t.Errorf("%.40s: got %+v, %v", text, back, err)
		}
	}
	if link.Expired(expires.Add(-2*time.Second)) || !link.Expired(expires.Add(time.Second)) {
		t.Error("the parsed link has another expiry")
	}
	forged := link.Invite
	forged.Role = "admin"
	raw, err := json.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseLink("ic://join/" + base64.RawURLEncoding.EncodeToString(raw)); err == nil || !strings.Contains(err.Error(), "signed") {
		t.Errorf("forged: %v", err)
	}
}

func TestParseLinkRefuses(t *testing.T) {
	t.Parallel()
	secret := envelope.NewLinkSecret().Encode()
	for text, says := range map[string]string{
		"":                                  "isn't an invite link",
		"bob":                               "isn't an invite link",
		"https://host/":                     "isn't an invite link",
		"https://host/i/short#" + secret:    "isn't an invite link",
		"https://host/i/0123456789abcdef":   "quotes",
		"https://host/i/0123456789abcdef#x": "damaged",
		"ftp://host/i/0123456789abcdef#x":   "isn't an invite link",
		"ic://join/":                        "isn't an invite link",
		"ic://join/!!!":                     "isn't an invite link",
		"ic://join/e30":                     "isn't an invite link",
		"https://host/i/../../x/01234567#" + secret:      "isn't an invite link",
		"https://host/x/../i/0123456789abcdef#" + secret: "isn't an invite link",
		"https://host//i/0123456789abcdef#" + secret:     "isn't an invite link",
		"https://host/xi/0123456789abcdef#" + secret:     "isn't an invite link",
		"http://[::1/i/0123456789abcdef#" + secret:       "isn't an invite link",
	} {
		_, err := ParseLink(text)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v", text, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the error contains the secret", text)
		}
	}
}

func FuzzParseLink(f *testing.F) {
	f.Add("https://host/i/0123456789abcdef#" + envelope.NewLinkSecret().Encode())
	f.Add("ic://join/e30")
	f.Fuzz(func(t *testing.T, text string) {
		link, err := ParseLink(text)
		if err != nil {
			return
		}
		if _, err := ParseLink(link.URL()); err != nil {
			t.Errorf("%q gave %q: %v", text, link.URL(), err)
		}
	})
}

// claims is the broker's side of a claim: it answers with a scripted handler.
type claims struct {
	t       *testing.T
	sealed  string
	meshID  wire.ID
	owner   wire.Key
	status  int
	refusal string
	keys    []string
	dropped bool   // the first answer is lost
	onDrop  func() // may be nil
}

func (c *claims) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet { // this broker does not say which mesh a link is for
		http.NotFound(w, r)
		return
	}
	var claim wire.Claim
	if err := json.NewDecoder(r.Body).Decode(&claim); err != nil {
		c.t.Error(err)
	}
	code := strings.Split(r.URL.Path, "/")[2]
	key, err := wire.ParseKey(claim.PeerPubkey)
	if err != nil {
		c.t.Error(err)
	}
	sig, err := wire.ParseSignature(claim.Signature)
	if err != nil {
		c.t.Error(err)
	}
	if !identity.Verify(c.owner, wire.ClaimSigningText(code, key, claim.Timestamp), sig) {
		c.t.Error("the claim is not signed with the claim key")
	}
	c.keys = append(c.keys, claim.PeerPubkey)
	if !c.dropped {
		c.dropped = true
		if c.onDrop != nil {
			c.onDrop()
		}
		panic(http.ErrAbortHandler)
	}
	if c.refusal != "" {
		w.WriteHeader(c.status)
		json.NewEncoder(w).Encode(wire.ErrorBody{Error: c.refusal})
		return
	}
	json.NewEncoder(w).Encode(wire.ClaimResult{SealedRootKey: c.sealed, MeshID: c.meshID, MemberID: wire.ID{2}, OwnerPubkey: c.owner, Role: "member"})
}

// TestJoinSurvivesALostAnswer checks a join whose answer is lost after the claim has used up one
// use. The second try must use the same key, because the broker then counts no further use. The
// command tries a second time by itself, unless it is interrupted.
func TestJoinSurvivesALostAnswer(t *testing.T) {
	t.Parallel()
	id := wire.ID{1}
	m := testMesh(t, id.String(), "team")
	m.BrokerURL = "ws://broker/ws"
	secret := envelope.NewLinkSecret()
	owner := secret.ClaimKey().Public() // as the test's broker checks claims with it
	sealed, err := secret.SealInvite(envelope.InvitePayload{MeshID: m.MeshID, Slug: "team", Name: "Team", OwnerPubkey: owner, RootKey: m.Key.Encode()})
	if err != nil {
		t.Fatal(err)
	}
	s, stop := newScripted(t, idle)
	defer stop()
	interrupted, interrupt := context.WithCancel(t.Context())
	c := &claims{t: t, sealed: sealed, meshID: id, owner: owner, onDrop: interrupt}
	s.http = c
	dir := Dir(t.TempDir())
	link := Link{BrokerURL: m.BrokerURL, Code: "0123456789abcdef", Secret: secret}
	if _, err := Join(interrupted, dir, link, "bob", s.client); err == nil {
		t.Fatal("the interrupted claim succeeded")
	}
	joined, err := Join(t.Context(), dir, link, "bob", s.client)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.keys) != 2 || c.keys[0] != c.keys[1] || joined.Mesh.Member.Public().String() != c.keys[0] {
		t.Errorf("keys %v", c.keys)
	}
	config, err := LoadConfig(dir)
	if err != nil || len(config.Meshes) != 1 || !config.Meshes[0].Key.Equal(m.Key) || config.Meshes[0].MemberID != (wire.ID{2}).String() {
		t.Errorf("got %+v, %v", config, err)
	}
	if left, _ := filepath.Glob(dir.Path("joining-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}

	// Again, with another link of the mesh: a new key, and a copy of the old config.
	link.Code = "fedcba9876543210"
	joined, err = Join(t.Context(), dir, link, "bob", s.client)
	if err != nil || joined.Backup == "" || joined.Mesh.Member.Public().String() == c.keys[0] {
		t.Errorf("got %+v, %v", joined, err)
	}
	if b, err := os.ReadFile(joined.Backup); err != nil || !strings.Contains(string(b), c.keys[0]) {
		t.Errorf("backup: %v", err)
	}

	// An answer about another mesh than the inviter's is refused.
	c.meshID = wire.ID{9}
	link.Code = "aaaaaaaaaaaaaaaa"
	if _, err := Join(t.Context(), dir, link, "bob", s.client); err == nil || !strings.Contains(err.Error(), "another mesh") {
		t.Errorf("got %v", err)
	}
	// A command that is not interrupted tries again by itself.
	c.meshID, c.dropped, c.onDrop, c.keys = id, false, nil, nil
	if _, err := Join(t.Context(), Dir(t.TempDir()), link, "bob", s.client); err != nil || len(c.keys) != 2 || c.keys[0] != c.keys[1] {
		t.Errorf("a claim whose answer was lost: %v, keys %v", err, c.keys)
	}

	c.status, c.refusal = http.StatusGone, "exhausted"
	_, err = Join(t.Context(), dir, link, "bob", s.client)
	var refused *HTTPError
	if !errors.As(err, &refused) || refused.Status != http.StatusGone || !strings.Contains(err.Error(), "used up") {
		t.Errorf("got %v", err)
	}
}

func TestHTTPHealth(t *testing.T) {
	t.Parallel()
	s, stop := newScripted(t, idle)
	defer stop()
	behind := 90 * time.Second
	s.http = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-behind).UTC().Format(http.TimeFormat))
		if r.URL.Path == "/health/ready" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"status":"not_ready","reason":"storage_full"}`)
			return
		}
		fmt.Fprint(w, `{"status":"ok","db":"down","version":"v1","uptime":1.5}`)
	})
	h := HTTP{BrokerURL: "ws://broker/ws", Client: s.client}
	health, skew, err := h.Health(t.Context())
	if err != nil || health.DB != "down" || (skew-behind).Abs() > 2*time.Second {
		t.Errorf("got %+v, %v, %v", health, skew, err)
	}
	if err := h.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "storage_full") {
		t.Errorf("got %v", err)
	}
	s.http = http.NotFoundHandler()
	if _, _, err := h.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "no claudemesh broker") {
		t.Errorf("got %v", err)
	}
}

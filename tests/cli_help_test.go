package tests

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/nacl/box"
)

// joinLink joins with a v1 link, like a v1 client.
func joinLink(t *testing.T, s *server, link, name string) *member {
	t.Helper()
	token := strings.TrimPrefix(link, "ic://join/")
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	payload := parse(t, string(raw))
	p := &member{team: &team{srv: s, id: payload.str("mesh_id")}, name: name, keys: newKeys(), host: name}
	status, a := s.post(t, "/join", frame{"invite_token": token, "invite_payload": payload, "peer_pubkey": p.keys.hex, "display_name": name})
	if status != 200 {
		t.Fatalf("join with a v1 link: %d %s", status, a)
	}
	p.id = a.str("memberId")
	return p
}

// sealFields seals a text like a v1 client and returns the fields of the send.
func sealFields(t *testing.T, from keyPair, to, text string) []any {
	t.Helper()
	var nonce [24]byte
	rand.Read(nonce[:])
	sealed := box.Seal(nil, []byte(text), &nonce, montgomery(t, to), scalar(from))
	return []any{"nonce", base64.StdEncoding.EncodeToString(nonce[:]), "ciphertext", base64.StdEncoding.EncodeToString(sealed)}
}

// openFrom opens a push that is sealed for a key.
func openFrom(t *testing.T, own keyPair, m frame) string {
	t.Helper()
	n, err := base64.StdEncoding.DecodeString(m.str("nonce"))
	if err != nil || len(n) != 24 {
		t.Fatalf("nonce of %s: %v", m, err)
	}
	sealed, err := base64.StdEncoding.DecodeString(m.str("ciphertext"))
	if err != nil {
		t.Fatal(err)
	}
	opened, ok := box.Open(nil, sealed, (*[24]byte)(n), montgomery(t, m.str("senderPubkey")), scalar(own))
	if !ok {
		t.Fatalf("can't open %s", m)
	}
	return string(opened)
}

// montgomery converts a public ed25519 key to x25519.
func montgomery(t *testing.T, key string) *[32]byte {
	t.Helper()
	raw, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	p, err := new(edwards25519.Point).SetBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	return (*[32]byte)(p.BytesMontgomery())
}

// scalar converts a secret ed25519 key to x25519.
func scalar(k keyPair) *[32]byte {
	sum := sha512.Sum512(k.secret.Seed())
	return (*[32]byte)(sum[:32])
}

// startSkewedClock starts a proxy through which the broker's clock seems to be ahead. It
// returns the URL of the WebSocket.
func startSkewedClock(t *testing.T, s *server, ahead time.Duration) string {
	t.Helper()
	target, err := url.Parse(s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			return nil
		},
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	return "ws" + strings.TrimPrefix(front.URL, "http") + "/ws"
}

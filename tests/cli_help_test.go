package tests

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"
)

// sealFields seals a text like a v1 client and returns the fields of the send.
func sealFields(t *testing.T, from keyPair, to, text string) []any {
	t.Helper()
	nonce, ciphertext := from.seal(t, to, text)
	return []any{"nonce", nonce, "ciphertext", ciphertext}
}

// openFrom opens a push that is sealed for a key.
func openFrom(t *testing.T, own keyPair, m frame) string {
	t.Helper()
	text, sealed := v1Text(t, m, own)
	if !sealed {
		t.Fatalf("can't open %s", m)
	}
	return text
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

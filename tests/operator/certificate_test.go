package operator

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

const (
	meshHost  = "mesh.example.com"
	otherHost = "www.example.com"
	renewals  = 2 // the number of renewals that the test waits for
)

// TestCertificates starts the shipped Caddyfile with a host name, a database and another
// site, like an operator. Caddy gets its certificates from an ACME server and renews them,
// while two sessions exchange messages over one connection each.
func TestCertificates(t *testing.T) {
	for name, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP":      "1", // validate at once
		"PEBBLE_AUTHZREUSE":      "0", // validate for every certificate
		"PEBBLE_WFE_NONCEREJECT": "0",
	} {
		t.Setenv(name, value)
	}
	for challenge, other := range map[string]string{"http": "tlsalpn", "tlsalpn": "http"} {
		t.Run(challenge, func(t *testing.T) { testCertificates(t, "disable_"+other+"_challenge") })
	}
}

func testCertificates(t *testing.T, disable string) {
	httpPort, tlsPort := harness.FreePort(t), harness.FreePort(t)
	authority := startAuthority(t, httpPort, tlsPort)
	b := harness.NewBroker(t, commands, "CLAUDEMESH_SITE="+meshHost, "DATABASE_URL="+pgtest.DSN(t))
	b.Config = filepath.Join(b.Home, "Caddyfile")
	writeConfig(t, b.Config, fmt.Sprintf(`
	http_port %d
	https_port %d
	default_bind 127.0.0.1
	renew_interval 1s
	renewal_window_ratio 0.999
	cert_issuer acme {
		dir %s
		trusted_roots %s
		%s
	}`, httpPort, tlsPort, authority.directory, authority.trusted, disable))
	b.Start()
	site := &site{client: &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: authority.roots},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, loopback(tlsPort))
		},
	}}}
	await.Until(t, "both sites have certificates", func() bool {
		return site.get(meshHost, "/health/ready") == `{"status":"ready"}` && site.get(otherHost, "/") == "another site"
	}, b.LogTail)

	mesh := newMesh(t, b)
	mesh.BrokerURL = "wss://" + meshHost + "/ws"
	var received, dropped atomic.Int64
	broken := make(chan string, 1)
	recipient := dial(t, peer.Options{Mesh: mesh, HTTPClient: site.client,
		OnState: site.watch(&dropped), OnMessage: inOrder(&received, broken)})
	sender := dial(t, peer.Options{Mesh: mesh, HTTPClient: site.client, OnState: site.watch(&dropped)})

	sent, seen := int64(0), map[string]bool{}
	await.Until(t, "the certificate is renewed while messages flow", func() bool {
		seen[site.serial(t, meshHost)] = true
		m := to(recipient.Pubkey())
		m.Body = fmt.Append(nil, sent)
		if _, err := sender.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		sent++
		return len(seen) > renewals
	}, b.LogTail)
	await.Until(t, "all messages have arrived", func() bool { return received.Load() == sent })
	select {
	case what := <-broken:
		t.Error(what)
	default:
	}
	if n := dropped.Load(); n != 0 {
		t.Errorf("connections were dropped %d times while the certificate was renewed", n)
	}
	p := newPrometheus(t)
	p.scrape(b)
	if ended, err := p.ask("sum(caddy_claudemesh_connections_ended_total)"); err != nil || len(ended) != 1 || ended[0].F != 0 {
		t.Errorf("the broker has counted ended connections: %v, %v", ended, err)
	}
	if text := site.get(otherHost, "/"); text != "another site" {
		t.Errorf("the other site answered %q", text)
	}
	t.Logf("%d messages over %d certificates", sent, len(seen))
}

// writeConfig writes the shipped Caddyfile with more global options, and another site.
func writeConfig(t *testing.T, path, global string) {
	t.Helper()
	shipped, err := os.ReadFile(filepath.Join(commands.Repo, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(shipped), "\n{\n", "\n{\n"+strings.TrimPrefix(global, "\n")+"\n", 1) +
		"\n" + otherHost + " {\n\trespond \"another site\"\n}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// site is Caddy's HTTPS site, as its clients reach it.
type site struct{ client *http.Client }

// get returns the body of an answer, or the text of the error.
func (s *site) get(host, path string) string {
	res, err := s.client.Get("https://" + host + path)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// serial returns the serial number of the certificate that a new connection gets.
func (s *site) serial(t *testing.T, host string) string {
	t.Helper()
	res, err := s.client.Head("https://" + host + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.TLS.PeerCertificates[0].SerialNumber.String()
}

// watch counts lost connections.
func (s *site) watch(dropped *atomic.Int64) func(peer.State) {
	return func(state peer.State) {
		if !state.Connected && state.Err != nil {
			dropped.Add(1)
		}
	}
}

// inOrder counts messages whose bodies are 0, 1, 2, and so on.
func inOrder(received *atomic.Int64, broken chan<- string) func(context.Context, peer.Incoming) error {
	return func(_ context.Context, m peer.Incoming) error {
		if want := fmt.Sprint(received.Load()); string(m.Body) != want {
			select {
			case broken <- fmt.Sprintf("message %q came when %q was due", m.Body, want):
			default:
			}
			return nil
		}
		received.Add(1)
		return nil
	}
}

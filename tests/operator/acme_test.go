package operator

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// lifetime is the lifetime of a certificate in seconds.
const lifetime = 600

// authority is an ACME certificate authority: Pebble, with a DNS server that resolves every
// name to this machine.
type authority struct {
	directory string         // the URL of the ACME directory
	trusted   string         // the file with the certificate of the ACME server itself
	roots     *x509.CertPool // the roots of the certificates that it issues
}

// startAuthority starts an authority that validates at these ports, until the test ends.
func startAuthority(t *testing.T, httpPort, tlsPort int) *authority {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	names := loopback(harness.FreePort(t))
	dns, err := challtestsrv.New(challtestsrv.Config{Log: quiet, DNSAddrs: []string{names}})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv6("")
	go dns.Run()
	t.Cleanup(dns.Shutdown)

	issued := db.NewMemoryStore()
	issuer := ca.New(quiet, issued, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "short-lived", ValidityPeriod: lifetime}})
	validator := va.New(quiet, httpPort, tlsPort, false, names, issued)
	front := wfe.New(quiet, issued, validator, issuer, []string{"pebble.letsencrypt.org"}, false, false, 1, 1)
	server := httptest.NewTLSServer(withoutRenewalInfo(front.Handler()))
	t.Cleanup(server.Close)

	a := &authority{directory: server.URL + wfe.DirectoryPath, trusted: filepath.Join(t.TempDir(), "acme.pem"), roots: x509.NewCertPool()}
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(a.trusted, own, 0o600); err != nil {
		t.Fatal(err)
	}
	a.roots.AppendCertsFromPEM(issuer.GetRootCert(0).PEM())
	return a
}

// withoutRenewalInfo removes renewalInfo from the directory. With it, the authority would
// tell Caddy to renew a certificate late in its life, and the test would wait for that.
func withoutRenewalInfo(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wfe.DirectoryPath {
			handler.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		var directory map[string]any
		if err := json.Unmarshal(answer.Body.Bytes(), &directory); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		delete(directory, "renewalInfo")
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(directory)
	})
}

package cli

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"
)

// adminSocket is the address of Caddy's admin API in the shipped Caddyfile, relative to the
// directory in which the broker was started.
const adminSocket = "unix/caddy-admin.sock"

// metricsAt returns the URL of Caddy's metrics and an HTTP client that reaches it (nil: the
// default client). from is such a URL, or the address of the admin API as Caddy writes it:
// host:port, or unix/<path>, optionally followed by |<mode>. If from is empty, metricsAt uses
// CADDY_ADMIN, then adminSocket if it exists, then Caddy's default address.
func metricsAt(from string) (string, *http.Client) {
	if from == "" {
		from = os.Getenv("CADDY_ADMIN")
	}
	if from == "" {
		from = "localhost:2019"
		if _, err := os.Stat(strings.TrimPrefix(adminSocket, "unix/")); err == nil {
			from = adminSocket
		}
	}
	if path, ok := strings.CutPrefix(from, "unix/"); ok {
		path, _, _ = strings.Cut(path, "|")
		return "http://localhost/metrics", &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
		}}
	}
	if !strings.Contains(from, "://") {
		from = "http://" + from + "/metrics"
	}
	return from, nil
}

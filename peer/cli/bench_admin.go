package cli

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"
)

// adminSocket is where the shipped Caddyfile has Caddy's admin API, in the directory
// from which the broker was started.
const adminSocket = "unix/caddy-admin.sock"

// metricsAt returns the URL of Caddy's metrics, and who can reach it (nil: everybody).
// from is such a URL, or the address of the admin API as Caddy writes it: host:port, or
// unix/<path>, perhaps with |<mode>. Without one it is what CADDY_ADMIN says, else the
// socket of the shipped Caddyfile, if that is in the current directory, else Caddy's own
// default.
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

package harness

import (
	"context"
	"net"
	"net/http"
)

// AdminClient returns a client of the admin endpoint at a Unix socket, whatever the host of a URL.
func AdminClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
}

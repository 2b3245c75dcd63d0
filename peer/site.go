package peer

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// The paths of a broker stand side by side, at the root of a host or, behind a proxy,
// below a path: the WebSocket at …/ws, invites at …/i/<code>.
const socketPath = "/ws"

var (
	webScheme    = map[string]string{"ws": "http", "wss": "https"}
	socketScheme = map[string]string{"http": "ws", "https": "wss"}
)

// siteURL returns where the other paths of a broker are, by the URL of its WebSocket:
// without the /ws in the end. Of a URL that ends otherwise, they are at the host's root.
func siteURL(brokerURL string) (*url.URL, error) {
	u, err := url.Parse(brokerURL)
	if err != nil {
		return nil, fmt.Errorf("broker URL: %w", err)
	}
	base, ok := strings.CutSuffix(u.Path, socketPath)
	if !ok || !isBase(base) {
		base = ""
	}
	return &url.URL{Scheme: webScheme[u.Scheme], Host: u.Host, Path: base}, nil
}

// isBase reports whether a broker may be below a path: "", or one without empty and dotted
// parts, and without a slash in the end.
func isBase(s string) bool { return path.Clean(s+"/x") == s+"/x" }

// brokerURL is the way back: the URL of the WebSocket beside another path of the broker.
func brokerURL(site *url.URL, base string) string {
	u := url.URL{Scheme: socketScheme[site.Scheme], Host: site.Host, Path: base + socketPath}
	return u.String()
}

package peer

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// The paths of a broker are siblings, at the root of a host or, behind a proxy, below a
// path: the WebSocket at …/ws, invites at …/i/<code>.
const socketPath = "/ws"

var (
	webScheme    = map[string]string{"ws": "http", "wss": "https"}
	socketScheme = map[string]string{"http": "ws", "https": "wss"}
)

// siteURL returns the base of a broker's other paths. It is the URL of the WebSocket
// without the /ws at the end. If that URL ends otherwise, the base is the root of the
// host.
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

// isBase reports whether a broker may be below the path s: s is "", or has no empty or
// dotted parts and no slash at the end.
func isBase(s string) bool { return path.Clean(s+"/x") == s+"/x" }

// brokerURL is the inverse of siteURL: it returns the URL of the WebSocket that is a
// sibling of another path of the broker.
func brokerURL(site *url.URL, base string) string {
	u := url.URL{Scheme: socketScheme[site.Scheme], Host: site.Host, Path: base + socketPath}
	return u.String()
}

package peer

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// The paths of a broker are siblings, at the root of a host or, behind a proxy, below a
// path: the WebSocket at …/ws, invites at …/i/<code>.
const socketPath = "/ws"

var (
	webScheme    = map[string]string{"ws": "http", "wss": "https"}
	socketScheme = map[string]string{"http": "ws", "https": "wss"}
)

// ParseBrokerURL returns the URL of a broker's WebSocket for a URL that a user has typed: that
// URL, or the one of the web site that the broker serves. Without a path, it means /ws.
func ParseBrokerURL(typed string) (string, error) {
	typed = strings.TrimSpace(typed)
	u, err := url.Parse(typed)
	if err != nil {
		return "", noBrokerURL(typed)
	}
	if u.User != nil {
		return "", errors.New("the URL of a broker can't contain a user or a password")
	}
	scheme, isSite := socketScheme[u.Scheme]
	if !isSite {
		scheme = u.Scheme
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); err != nil && u.Port() != "" || webScheme[scheme] == "" || u.Hostname() == "" {
		return "", noBrokerURL(typed)
	}
	at := strings.TrimRight(u.Path, "/")
	if at == "" || isSite && !strings.HasSuffix(at, socketPath) {
		at += socketPath
	}
	return (&url.URL{Scheme: scheme, Host: u.Host, Path: at, RawQuery: u.RawQuery}).String(), nil
}

func noBrokerURL(typed string) error {
	return fmt.Errorf("%q isn't the URL of a broker, which looks like wss://mesh.example.org/ws or ws://127.0.0.1:7900/ws", visible.Short(typed, visible.People, wire.MaxNameLen))
}

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

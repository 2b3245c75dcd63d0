package broker

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/claudemesh/claudemesh/wire"
)

// UpgradeError says why a request can't become a WebSocket. Nothing has been
// written to the client yet.
type UpgradeError struct {
	Status int // of HTTP
	Reason string
}

func (e *UpgradeError) Error() string { return e.Reason }

// ServeWebSocket upgrades the request to a connection of protocol v1, and returns once the broker
// has taken it over. Errors before the upgrade are *UpgradeError.
func (b *Broker) ServeWebSocket(w http.ResponseWriter, r *http.Request, client netip.Addr) error {
	if err := checkUpgrade(r); err != nil {
		b.stats.connections.add("refused")
		return err
	}
	if b.draining.Load() {
		b.stats.connections.add("shutting_down")
		return &UpgradeError{http.StatusServiceUnavailable, "shutting down"}
	}
	ws, socket, err := accept(w, r)
	if err != nil {
		b.stats.connections.add("failed")
		return fmt.Errorf("upgrade: %w", err)
	}
	b.stats.connections.add("accepted")
	ws.SetReadLimit(4 * int64(b.Settings().MaxMessageBytes))
	c := newConn(b, ws, socket, client.Unmap())
	c.remote, c.request = r.RemoteAddr, tracedRequest(r.Context())
	if !b.adopt(c) { // stopped while the connection was upgraded
		c.end(endShutdown, wire.CloseRestart, wire.ReasonShutdown)
		c.out.ended.Wait()
		c.cut()
		return nil
	}
	go c.serve()
	return nil
}

// checkUpgrade refuses a request that can't be upgraded. Here a status suffices, which is cheaper
// than a close frame; the WebSocket library's own answer would break HTTP/2.
func checkUpgrade(r *http.Request) error {
	switch {
	case r.Method != http.MethodGet:
		return &UpgradeError{http.StatusMethodNotAllowed, "the WebSocket endpoint takes GET"}
	case r.ProtoMajor != 1 || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return &UpgradeError{http.StatusUpgradeRequired, "this is a WebSocket endpoint: upgrade over HTTP/1.1"}
	case !sameSite(r):
		return &UpgradeError{http.StatusForbidden, "requests from other sites are refused"}
	}
	return nil
}

// sameSite reports whether a request comes from a page of this host, or from no browser.
func sameSite(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// adopt takes a connection into the broker's care, unless it is stopping.
func (b *Broker) adopt(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == stopped {
		return false
	}
	b.conns[c] = struct{}{}
	b.wait.Add(1)
	return true
}

// release undoes adopt.
func (b *Broker) release(c *conn) {
	b.mu.Lock()
	delete(b.conns, c)
	b.mu.Unlock()
	close(c.gone)
	b.wait.Done()
}

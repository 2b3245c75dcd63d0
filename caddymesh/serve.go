package caddymesh

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/wire"
)

// retryAfter is the number of seconds that clients should wait while the broker is starting
// or stopping, or can't reach its storage.
const retryAfter = "5"

// route is one path that the broker serves.
type route struct {
	method string // GET includes HEAD, except for the WebSocket
	serve  func(*call) error

	forwards bool // a node may forward its requests to another one
}

// call is one request to the broker.
type call struct {
	*Handler
	w      http.ResponseWriter
	r      *http.Request
	broker *broker.Broker
	code   string // the invite code in the path, if there is one
	body   []byte // once decode has read it

	forwarded bool // by another node
}

// routes are the fixed paths; find handles the rest.
var routes = map[string]route{
	"/ws":              {http.MethodGet, (*call).webSocket, false},
	"/hook/set-status": {http.MethodPost, (*call).hookStatus, true},
	"/health":          {http.MethodGet, (*call).health, false},
	"/health/ready":    {http.MethodGet, (*call).ready, false},
	"/join":            {http.MethodPost, (*call).join, true},
	"/meshes":          {http.MethodPost, (*call).createMesh, false},
}

var (
	claimRoute = route{http.MethodPost, (*call).claim, true}
	pageRoute  = route{http.MethodGet, (*call).invitePage, true}
)

// find returns the route of a path and the invite code in the path.
func find(path string) (to route, code string, ok bool) {
	if to, ok = routes[path]; ok {
		return to, "", true
	}
	if code, ok = strings.CutPrefix(path, "/i/"); ok {
		return pageRoute, code, isSegment(code)
	}
	if code, ok = strings.CutPrefix(path, "/invites/"); ok {
		code, ok = strings.CutSuffix(code, "/claim")
		return claimRoute, code, ok && isSegment(code)
	}
	return route{}, "", false
}

func isSegment(s string) bool { return s != "" && !strings.Contains(s, "/") }

// ServeHTTP answers on the broker's paths and passes every other request to the next
// handler. If no handler answers, ServeHTTP answers with 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	to, code, ok := find(r.URL.Path)
	c := &call{Handler: h, w: w, r: r, code: code}
	if !ok {
		return c.handOn(next)
	}
	c.limitBody()
	if r.Method != to.method && (r.Method != http.MethodHead || to.method != http.MethodGet || r.URL.Path == "/ws") {
		w.Header().Set("Allow", allow(to.method, r.URL.Path))
		return c.refuse(http.StatusMethodNotAllowed, "method not allowed", "")
	}
	if err := crossOrigin.Check(r); err != nil {
		return c.refuse(http.StatusForbidden, "forbidden", "the broker refuses requests from web pages of other sites")
	}
	if c.broker = h.hub.broker.Load(); c.broker == nil {
		// Caddy starts its apps in any order: the site may be up before the broker.
		if r.URL.Path == "/health/ready" {
			return c.notReady(h.hub.absence().Reason)
		}
		return c.unavailable("the broker is starting")
	}
	c.trace()
	return to.serve(c)
}

// handOn calls the site's other handlers. If none of them answers, it answers with 404,
// because clients would take Caddy's empty 200 for an answer of the broker.
func (c *call) handOn(next caddyhttp.Handler) error {
	if err := next.ServeHTTP(c.w, c.r); err != nil {
		return err
	}
	if nobody, _ := caddyhttp.GetVar(c.r.Context(), unhandled).(bool); !nobody {
		return nil
	}
	caddyhttp.SetVar(c.r.Context(), unhandled, false)
	c.limitBody()
	return c.refuse(http.StatusNotFound, "not found", "the claudemesh broker has no such path")
}

// unhandled is the variable that Caddy sets if no handler answers.
const unhandled = "unhandled"

func allow(method, path string) string {
	if method == http.MethodGet && path != "/ws" {
		return "GET, HEAD"
	}
	return method
}

// crossOrigin keeps web pages of other sites from posting to a broker that the visitor can
// reach, such as one on the visitor's own machine. Clients of the protocol aren't browsers
// and don't send the headers that it checks.
var crossOrigin = http.NewCrossOriginProtection()

func (c *call) webSocket() error {
	err := c.broker.ServeWebSocket(c.w, c.r, c.client())
	if err == nil {
		return nil
	}
	var refused *broker.UpgradeError
	if !errors.As(err, &refused) {
		c.log.Debug("WebSocket upgrade failed", zap.Error(err)) // the upgrade has answered the client
		return nil
	}
	switch refused.Status {
	case http.StatusUpgradeRequired:
		if c.r.ProtoMajor == 1 { // HTTP/2 and later forbid both headers
			c.w.Header().Set("Upgrade", "websocket")
			c.w.Header().Set("Connection", "Upgrade")
		}
	case http.StatusServiceUnavailable:
		c.w.Header().Set("Retry-After", retryAfter)
	}
	return c.refuse(refused.Status, strings.ToLower(http.StatusText(refused.Status)), refused.Reason)
}

func (c *call) health() error {
	health := c.broker.Health(c.r.Context())
	if client := c.client(); client.IsValid() {
		health.Client = client.String()
	}
	return c.json(http.StatusOK, health)
}

func (c *call) ready() error {
	var not *broker.NotReady
	switch err := c.broker.Ready(c.r.Context()); {
	case err == nil:
		return c.json(http.StatusOK, wire.Ready{Status: "ready"})
	case errors.As(err, &not):
		return c.notReady(not.Reason)
	default:
		return err
	}
}

func (c *call) notReady(reason string) error {
	c.w.Header().Set("Retry-After", retryAfter)
	return c.json(http.StatusServiceUnavailable, wire.Ready{Status: "not_ready", Reason: reason})
}

func (c *call) hookStatus() error {
	var body wire.HookStatus
	if err := c.decode(&body); err != nil {
		return c.badBody(err, err.Error())
	}
	result, err := c.broker.HookStatus(c.r.Context(), body, c.client())
	if err == nil {
		if elsewhere, found := c.hookElsewhere(); found && result.PresenceID == "" {
			result = elsewhere
		}
	}
	switch {
	case err == nil:
		return c.json(http.StatusOK, result)
	case errors.Is(err, broker.ErrHookInvalid):
		return c.refuse(http.StatusBadRequest, "cwd and status required", "")
	case errors.Is(err, broker.ErrHookRate):
		return c.refuse(http.StatusTooManyRequests, "rate limited", "")
	}
	return c.storageAway(err)
}

// client returns the address of the client as Caddy sees it, with regard to the operator's
// trusted proxies. It returns the zero Addr if there is none.
func (c *call) client() netip.Addr {
	if c.forwarded {
		return cluster.Client(c.r.Context())
	}
	s, _ := caddyhttp.GetVar(c.r.Context(), caddyhttp.ClientIPVarKey).(string)
	return parseAddr(s)
}

// parseAddr reads an address with or without a port.
func parseAddr(s string) netip.Addr {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

package caddymesh

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

func (c *call) join() error {
	var body wire.Join
	if err := c.decode(&body); err != nil {
		return c.badBody(err, err.Error())
	}
	if answered, err := c.forward(func(ctx context.Context) (wire.ID, error) { return c.broker.MeshOfToken(ctx, body) }); answered {
		return err
	}
	memberID, already, err := c.broker.Join(c.r.Context(), body)
	if err != nil {
		var refusal *mesh.Refusal
		switch {
		case !errors.As(err, &refusal):
			return c.storageAway(err)
		case refusal.Code == mesh.CodeBadName || refusal.Code == mesh.CodeNameTaken: // only our clients get these codes
			return c.refusal(err)
		}
		return c.refuse(http.StatusBadRequest, refusal.JoinError(), "")
	}
	c.note(zap.String("member", memberID))
	return c.json(http.StatusOK, wire.JoinResult{OK: true, MemberID: memberID, AlreadyMember: already})
}

func (c *call) claim() error {
	var body wire.Claim
	if err := c.decode(&body); err != nil {
		return c.badBody(err, string(wire.CodeMalformed))
	}
	if answered, err := c.forward(c.meshOfInvite); answered {
		return err
	}
	result, err := c.broker.Claim(c.r.Context(), c.code, body)
	var refusal *mesh.Refusal
	if errors.As(err, &refusal) && refusal.Code == mesh.CodeV1Claim {
		return c.refuse(http.StatusBadRequest, refusal.Message, "") // v1 clients show only the error
	}
	if err != nil {
		return c.refusal(err)
	}
	c.noteMember(result.MeshID, result.MemberID)
	return c.json(http.StatusOK, result)
}

func (c *call) createMesh() error {
	var body wire.CreateMesh
	if err := c.decode(&body); err != nil {
		return c.badBody(err, string(wire.CodeMalformed))
	}
	if reason := c.mayNotCreate(c.r, body.Token); reason != "" {
		return c.refuse(http.StatusForbidden, string(wire.CodeForbidden), reason)
	}
	body.Token = "" // checked here; the broker doesn't need it
	result, err := c.broker.CreateMesh(c.r.Context(), body)
	if err != nil {
		return c.refusal(err)
	}
	c.noteMember(result.MeshID, result.MemberID)
	return c.json(http.StatusOK, result)
}

// refusal answers an error from claiming an invite or creating a mesh.
func (c *call) refusal(err error) error {
	var refusal *mesh.Refusal
	if !errors.As(err, &refusal) {
		return c.storageAway(err)
	}
	status := refusalStatus(refusal.Code)
	if status == http.StatusServiceUnavailable {
		c.w.Header().Set("Retry-After", retryAfter)
	}
	return c.refuse(status, string(refusal.Code), refusal.Message)
}

func refusalStatus(code wire.Code) int {
	switch code {
	case wire.CodeNotFound:
		return http.StatusNotFound
	case wire.CodeRevoked, wire.CodeExpired, mesh.CodeExhausted:
		return http.StatusGone
	case wire.CodeForbidden:
		return http.StatusForbidden
	case wire.CodeCapacity, mesh.CodeNameTaken:
		return http.StatusConflict
	case wire.CodeTryAgain:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// mayNotCreate returns why this request may not create a mesh, or "" if it may.
func (h *Handler) mayNotCreate(r *http.Request, token string) string {
	switch h.CreateMeshes {
	case createOpen:
		return ""
	case createToken:
		if sameSecret(token, h.token) {
			return ""
		}
		return "creating a mesh on this broker requires the operator's token"
	case createLoopback:
		return fromThisMachine(r)
	}
	return "creating meshes is switched off on this broker"
}

// sameSecret compares two secrets in constant time.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// fromThisMachine returns "" for a request from this machine, or why the request doesn't
// count as one. Checking the address isn't enough: behind a proxy on the same machine,
// every request comes from the loopback address.
func fromThisMachine(r *http.Request) string {
	c := call{r: r}
	if !parseAddr(r.RemoteAddr).IsLoopback() || !c.client().IsLoopback() {
		return "this broker creates meshes only for requests from its own machine"
	}
	const proxy = "this broker creates meshes only for requests from its own machine, and this request came through a proxy: "
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		return proxy + "it uses HTTP/1.0"
	}
	if !isLoopbackName(r.Host) {
		return proxy + "its host is " + strconv.Quote(r.Host) + " and not 127.0.0.1 or localhost"
	}
	for name := range r.Header {
		if !isClientHeader(name) && !isOwnTrace(r, name) {
			return proxy + "it has the header " + name
		}
	}
	return ""
}

func isLoopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(strings.ToLower(host), "[]")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || parseAddr(host).IsLoopback()
}

// isOwnTrace reports whether Caddy's tracing has added a header to the request. If the request came with a
// trace, tracing has replaced the header, and the span has a parent, unless it is not sampled.
func isOwnTrace(r *http.Request, name string) bool {
	span := trace.SpanFromContext(r.Context())
	if s, ok := span.(interface{ Parent() trace.SpanContext }); ok && s.Parent().IsValid() {
		return false
	}
	id := span.SpanContext().TraceID()
	return id.IsValid() && strings.Contains(r.Header.Get(name), id.String())
}

// isClientHeader reports whether a client sends a header itself. It lists the clients'
// headers because proxies add too many to list: X-Forwarded-For, Forwarded, Via,
// X-Real-Ip, Cf-Connecting-Ip, ...
func isClientHeader(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Connection", "Cookie", "Dnt", "Expect", "Keep-Alive", "Origin", "Pragma",
		"Priority", "Referer", "Te", "Transfer-Encoding", "User-Agent":
		return true
	}
	return strings.HasPrefix(name, "Accept") || strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "Sec-")
}

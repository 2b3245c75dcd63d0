package caddymesh

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

func (c *call) join() error {
	var body wire.Join
	if err := c.decode(&body); err != nil {
		return c.badBody(err, err.Error())
	}
	memberID, already, err := c.broker.Join(c.r.Context(), body)
	if err != nil {
		var refusal *mesh.Refusal
		switch {
		case !errors.As(err, &refusal):
			return c.storageAway(err)
		case refusal.Code == mesh.CodeBadName || refusal.Code == mesh.CodeNameTaken: // to clients of ours alone
			return c.refusal(err)
		}
		return c.refuse(http.StatusBadRequest, refusal.JoinError(), "")
	}
	return c.json(http.StatusOK, wire.JoinResult{OK: true, MemberID: memberID, AlreadyMember: already})
}

func (c *call) claim() error {
	var body wire.Claim
	if err := c.decode(&body); err != nil {
		return c.badBody(err, string(wire.CodeMalformed))
	}
	result, err := c.broker.Claim(c.r.Context(), c.code, body)
	var refusal *mesh.Refusal
	if errors.As(err, &refusal) && refusal.Code == mesh.CodeV1Claim {
		return c.refuse(http.StatusBadRequest, refusal.Message, "") // v1 clients show the error alone
	}
	if err != nil {
		return c.refusal(err)
	}
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
	body.Token = "" // checked here; it is no business of the broker's
	result, err := c.broker.CreateMesh(c.r.Context(), body)
	if err != nil {
		return c.refusal(err)
	}
	return c.json(http.StatusOK, result)
}

// refusal answers an error of claiming an invite or creating a mesh.
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

// mayNotCreate returns why the operator does not let this request create a
// mesh; "" when it may.
func (h *Handler) mayNotCreate(r *http.Request, token string) string {
	switch h.CreateMeshes {
	case createOpen:
		return ""
	case createToken:
		if sameSecret(token, h.token) {
			return ""
		}
		return "creating meshes here needs the operator's token"
	case createLoopback:
		return fromThisMachine(r)
	}
	return "creating meshes is switched off here"
}

// sameSecret compares in a time that tells nothing about either.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// fromThisMachine returns "" for a request that was made on this machine, else why it
// counts as one that was not. The address alone would not do: behind a proxy on the same
// machine, every request of the world comes from the loopback address.
func fromThisMachine(r *http.Request) string {
	c := call{r: r}
	if !parseAddr(r.RemoteAddr).IsLoopback() || !c.client().IsLoopback() {
		return "meshes are created on the broker's own machine only"
	}
	const proxy = "meshes are created on the broker's own machine only, and this request came through a proxy: "
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		return proxy + "it is of HTTP/1.0"
	}
	if !isLoopbackName(r.Host) {
		return proxy + "it is for " + strconv.Quote(r.Host) + " and not for 127.0.0.1 or localhost"
	}
	for name := range r.Header {
		if !isClientHeader(name) {
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

// isClientHeader reports whether clients send a header. Proxies have too many of their
// own to list: X-Forwarded-For, Forwarded, Via, X-Real-Ip, Cf-Connecting-Ip, ...
func isClientHeader(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Connection", "Cookie", "Dnt", "Expect", "Keep-Alive", "Origin", "Pragma",
		"Priority", "Referer", "Te", "Transfer-Encoding", "User-Agent":
		return true
	}
	return strings.HasPrefix(name, "Accept") || strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "Sec-")
}

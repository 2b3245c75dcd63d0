package caddymesh

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

//go:embed invite.html
var inviteHTML string

var (
	inviteTemplate = template.Must(template.New("invite").Parse(inviteHTML))

	// pagePolicy lets the page use its own script and style and load nothing.
	pagePolicy = "default-src 'none'; style-src " + inlineHash(inviteHTML, "style") +
		"; script-src " + inlineHash(inviteHTML, "script") +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// inlineHash returns the CSP source (CSP3 §2.3.1) of a page's only inline element with
// this tag. The element must not contain template actions.
func inlineHash(page, tag string) string {
	m := regexp.MustCompile(`(?s)<` + tag + `>(.*?)</` + tag + `>`).FindStringSubmatch(page)
	if m == nil || strings.Contains(m[1], "{{") {
		panic("page without a static <" + tag + ">")
	}
	sum := sha256.Sum256([]byte(m[1]))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// invitePage is the data of the template and the answer to programs, in JSON. Everybody
// who has the link can see it. It doesn't contain the link's secret: that is in the
// fragment of the link, which browsers don't send.
type invitePage struct {
	MeshID    string    `json:"mesh_id,omitempty"`
	Mesh      string    `json:"mesh,omitempty"`
	Slug      string    `json:"slug,omitempty"`
	Inviter   string    `json:"inviter,omitempty"`
	Role      string    `json:"role,omitempty"`
	Groups    []string  `json:"groups,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Error     wire.Code `json:"error,omitempty"`

	Link    string `json:"-"` // the page's public address; if "", the page uses the browser's address
	Problem string `json:"-"` // a sentence that says why the invite can't be used
}

// Until returns the expiry of the invite, for people to read.
func (p invitePage) Until() string { return p.ExpiresAt.UTC().Format("2 January 2006, 15:04 MST") }

// An returns the indefinite article for the role.
func (p invitePage) An() string {
	if p.Role != "" && strings.ContainsRune("aeiou", rune(p.Role[0])) {
		return "an"
	}
	return "a"
}

var problems = map[wire.Code]string{
	wire.CodeNotFound:  "This invite doesn’t exist. Maybe part of the link is missing.",
	wire.CodeRevoked:   "Somebody revoked this invite.",
	wire.CodeExpired:   "This invite has expired.",
	mesh.CodeExhausted: "This invite has no uses left.",
}

func (c *call) invitePage() error {
	if answered, err := c.forward(c.meshOfInvite); answered {
		return err
	}
	info, err := c.broker.Invite(c.r.Context(), c.code)
	if err == nil {
		page := invitePage{
			MeshID:    info.MeshID.String(),
			Mesh:      info.MeshName,
			Slug:      info.MeshSlug,
			Inviter:   info.Inviter,
			Role:      string(info.Role),
			ExpiresAt: info.ExpiresAt,
		}
		for _, g := range info.Groups {
			page.Groups = append(page.Groups, g.Name)
		}
		if c.publicURL != "" {
			page.Link = c.publicURL + c.r.URL.EscapedPath()
		}
		return c.page(http.StatusOK, page)
	}

	var refusal *mesh.Refusal
	if !errors.As(err, &refusal) {
		if c.wantsJSON() {
			return c.storageAway(err)
		}
		c.w.Header().Set("Retry-After", retryAfter)
		return c.page(http.StatusServiceUnavailable, invitePage{
			Error:   wire.AckTryAgain,
			Problem: "The broker can’t reach its storage right now. Try again in a moment.",
		})
	}
	problem, known := problems[refusal.Code]
	if !known {
		problem = "This invite can’t be used."
	}
	return c.page(refusalStatus(refusal.Code), invitePage{Error: refusal.Code, Problem: problem})
}

// page writes the page as HTML, or as JSON if the client asks for it.
func (c *call) page(status int, page invitePage) error {
	header := c.w.Header()
	header.Set("Vary", "Accept")
	if c.wantsJSON() {
		return c.json(status, page)
	}
	var b bytes.Buffer
	if err := inviteTemplate.Execute(&b, page); err != nil {
		return fmt.Errorf("invite page: %w", err)
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	_, err := b.WriteTo(c.w)
	return err
}

func (c *call) wantsJSON() bool {
	accept := c.r.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

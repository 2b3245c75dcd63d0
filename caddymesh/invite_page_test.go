package caddymesh

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

func TestInvitePage(t *testing.T) {
	s := startServer(t, "public_url https://mesh.example.com/")
	o := s.createMesh(`R&D <script>alert(1)</script>`)
	code, id := o.invite()

	response, body := s.do("GET", "/i/"+code, "", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	if response.StatusCode != 200 {
		t.Fatalf("got status %d: %s", response.StatusCode, body)
	}
	for _, part := range []string{
		"R&amp;D &lt;script&gt;alert(1)", "<strong>Ada</strong>", "an <strong>admin</strong>", "<strong>@backend</strong>",
		"go install github.com/claudemesh/claudemesh/cmd/claudemesh@latest", "claudemesh join",
		`data-link="https://mesh.example.com/i/` + code + `"`, " UTC</time>",
	} {
		if !strings.Contains(body, part) {
			t.Errorf("no %s in the page", part)
		}
	}
	if strings.Contains(body, strings.Repeat("A", 64)) {
		t.Errorf("the page holds the sealed key")
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store",
		"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Vary": "Accept",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	policy := response.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("got policy %q", policy)
	}

	var info invitePage
	response, body = s.do("GET", "/i/"+code, "", "Accept", "application/json")
	if err := json.Unmarshal([]byte(body), &info); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 200 || info.Inviter != "Ada" || info.Role != "admin" || info.Slug != "team" ||
		len(info.Groups) != 1 || info.ExpiresAt.Before(time.Now()) {
		t.Errorf("got status %d: %s", response.StatusCode, body)
	}

	if response, body := s.do("HEAD", "/i/"+code, ""); response.StatusCode != 200 || body != "" {
		t.Errorf("HEAD: got status %d, body %q", response.StatusCode, body)
	}

	o.ask("ack", map[string]any{"type": "invite_revoke", "inviteId": id})
	response, body = s.do("GET", "/i/"+code, "")
	if response.StatusCode != 410 || !strings.Contains(body, "Somebody revoked this invite.") || strings.Contains(body, "Ada") {
		t.Errorf("revoked invite: got status %d: %s", response.StatusCode, body)
	}
}

// TestInvitePageOnAPhone checks that commands scroll and are never broken, and that on a
// narrow screen the button stands below its command and takes no width from it.
func TestInvitePageOnAPhone(t *testing.T) {
	t.Parallel()
	css := regexp.MustCompile(`\s+`).ReplaceAllString(inviteHTML, " ")
	rules := func(css, selector string) string {
		var all []string
		for _, m := range regexp.MustCompile(`(?:^|[{}] )`+regexp.QuoteMeta(selector)+` \{([^}]*)\}`).FindAllStringSubmatch(css, -1) {
			all = append(all, m[1])
		}
		return strings.Join(all, ";")
	}
	wide, narrow, ok := strings.Cut(css, "@media (max-width: 399px) ")
	if !ok {
		t.Fatal("no rules for narrow screens")
	}
	if pre := rules(wide, "pre"); !strings.Contains(pre, "overflow-x: auto;") || !strings.Contains(pre, "white-space: pre;") ||
		!strings.Contains(pre, "min-width: 0;") || strings.Contains(pre, "overflow-wrap") || strings.Contains(pre, "word-break") {
		t.Errorf("commands: %s", pre)
	}
	if command := rules(narrow, ".command"); !strings.Contains(command, "flex-direction: column;") {
		t.Errorf("commands on a narrow screen: %s", command)
	}
	if strings.Count(inviteHTML, "<pre") != 2 || strings.Count(inviteHTML, `<div class="command"><pre`) != 2 {
		t.Error("a command is in an unexpected place")
	}
}

func TestUnknownInvitePage(t *testing.T) {
	s := startServer(t)
	response, body := s.do("GET", "/i/abcdefghijklmnop", "")
	if response.StatusCode != 404 || !strings.Contains(body, "This invite doesn’t exist.") {
		t.Errorf("got status %d: %s", response.StatusCode, body)
	}
	response, body = s.do("GET", "/i/abcdefghijklmnop", "", "Accept", "application/json")
	if response.StatusCode != 404 || body != `{"error":"not_found"}` {
		t.Errorf("got status %d: %s", response.StatusCode, body)
	}
}

// TestPageOfEachRefusal renders the page of every refusal.
func TestPageOfEachRefusal(t *testing.T) {
	t.Parallel()
	for code, problem := range problems {
		w := httptest.NewRecorder()
		c := &call{Handler: &Handler{}, w: w, r: httptest.NewRequest(http.MethodGet, "/i/x", nil)}
		if err := c.page(refusalStatus(code), invitePage{Error: code, Problem: problem}); err != nil {
			t.Fatal(err)
		}
		want := http.StatusGone
		if code == wire.CodeNotFound {
			want = http.StatusNotFound
		}
		if w.Code != want || !strings.Contains(w.Body.String(), problem) || strings.Contains(w.Body.String(), "claudemesh join") {
			t.Errorf("%s: got status %d: %s", code, w.Code, w.Body)
		}
	}
}

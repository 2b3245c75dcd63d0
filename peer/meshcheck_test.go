package peer

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/wire"
)

// badSlugs would lead out of the directory of keys, or name no file.
var badSlugs = []string{"../../x", "..", ".", ".ssh", "", "a/b", `a\b`, "/etc", "a\x00b", "Team", "b\u043eb", "a b", "team\n", strings.Repeat("a", 65)}

// TestJoinRefusesBadInvites checks invites whose slug can't name a directory on our disk. Anybody
// may make such an invite.
func TestJoinRefusesBadInvites(t *testing.T) {
	t.Parallel()
	for _, slug := range badSlugs {
		m := testMesh(t, "m1", slug)
		link, _, err := NewTokenInvite(&m, InviteTerms{Role: "member", Uses: 1, ExpiresAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseLink(link.URL()); err == nil || !strings.Contains(err.Error(), "slug") {
			t.Errorf("a token for %q: %v", slug, err)
		}

		id := wire.ID{1}
		secret := envelope.NewLinkSecret()
		owner := secret.ClaimKey().Public()
		sealed, err := secret.SealInvite(envelope.InvitePayload{MeshID: id.String(), Slug: slug, Name: "x", OwnerPubkey: owner, RootKey: m.Key.Encode()})
		if err != nil {
			t.Fatal(err)
		}
		s, stop := newScripted(t, idle)
		s.http = &claims{t: t, sealed: sealed, meshID: id, owner: owner, dropped: true}
		dir := Dir(t.TempDir())
		_, err = Join(t.Context(), dir, Link{BrokerURL: "ws://broker/ws", Code: "0123456789abcdef", Secret: secret}, "bob", s.client)
		stop()
		if err == nil || !strings.Contains(err.Error(), "slug") {
			t.Errorf("a link to %q: %v", slug, err)
		}
		if _, err := os.Stat(dir.Path("config.json")); err == nil {
			t.Errorf("a link to %q is in the config", slug)
		}
		b, err := json.Marshal(map[string]any{"version": 1, "meshes": []meshFields{{MeshID: "m1", MemberID: "x", Slug: slug, BrokerURL: "ws://h/ws", SecretKey: m.Member.SecretHex(), Pubkey: m.Member.Public().String()}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseConfig(b); err == nil || !strings.Contains(err.Error(), "slug") {
			t.Errorf("a config with %q: %v", slug, err)
		}
	}
}

func TestMeshCheck(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Mesh){
		"mesh id":       func(m *Mesh) { m.MeshID = "a|b" },
		"long id":       func(m *Mesh) { m.MeshID = strings.Repeat("a", 200) },
		"no id":         func(m *Mesh) { m.MeshID = "" },
		"member id":     func(m *Mesh) { m.MemberID = "../x" },
		"other scheme":  func(m *Mesh) { m.BrokerURL = "file:///etc/passwd" },
		"no host":       func(m *Mesh) { m.BrokerURL = "ws:///ws" },
		"a user in it":  func(m *Mesh) { m.BrokerURL = "wss://user:secret@host/ws" },
		"escapes in it": func(m *Mesh) { m.BrokerURL = "wss://host/\x1b[2J" },
	} {
		m := testMesh(t, "m1", "team")
		if err := m.check(); err != nil {
			t.Fatal(err)
		}
		change(&m)
		if err := m.check(); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tt := range [][2]string{{"The Team", "The Team"}, {"", "team"}, {" \n", "team"}, {"a\x1b[2J\u202e", `a\u{1B}[2J\u{202E}`}, {strings.Repeat("é", 100), strings.Repeat("é", 64)}} {
		if got := shownName(tt[0], "team"); got != tt[1] {
			t.Errorf("%q is called %q, want %q", tt[0], got, tt[1])
		}
	}
}

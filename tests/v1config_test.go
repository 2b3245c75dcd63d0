package tests

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestV1Config uses our command with the config directory of a v1 client and with v1 peers.
func TestV1Config(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"the mesh key is in the token", keyFromToken},
		{"safety numbers", safetyNumbers},
		{"a person without a session", personWithoutSession},
	})
}

// v1Home returns a person with the config directory of a v1 client that has joined a mesh.
func v1Home(t *testing.T, s *server, link, name string) *person {
	t.Helper()
	guest := joinV1(t, s, link, name)
	p := newPerson(t, s)
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := toJSON(t, frame{"version": 1, "meshes": []frame{{
		"meshId": guest.team.id, "memberId": guest.id, "slug": "team", "name": "Team", "pubkey": guest.keys.hex,
		"secretKey": hex.EncodeToString(guest.keys.secret), "brokerUrl": s.WSURL(), "joinedAt": "2026-01-02T03:04:05.678Z",
	}}})
	if err := os.WriteFile(filepath.Join(p.dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func keyFromToken(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.must("create", "team")
	link := alice.invite("--format", "v1")
	bob := v1Home(t, s, link, "bob")
	inbox := alice.start("inbox", "--follow", "--json")
	await.Until(t, "alice is there", func() bool { return len(bob.list("peers", "--json")) == 1 })

	bob.fails(1, "invite-team.txt", "send", "@all", "hi") // the error says what to do
	path := filepath.Join(bob.dir, "invite-team.txt")
	other := newPerson(t, s)
	other.must("create", "other")
	for _, wrong := range []string{"nonsense", other.invite("--format", "v1")} {
		if err := os.WriteFile(path, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		bob.fails(1, "invite-team.txt", "send", "@all", "hi")
	}
	token := link[strings.LastIndex(link, "/")+1:]
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bob.must("send", "@all", "hi")
	if m := parse(t, inbox.line()); m.str("body") != "hi" || m.str("sealing") != "mesh" || m["verified"] != true {
		t.Errorf("alice got %s", m)
	}
	if got, want := bob.config().str("rootKey"), alice.config().str("rootKey"); got != want || got == "" {
		t.Errorf("the config has the key %q, want %q", got, want)
	}
	if err := os.Remove(path); err != nil { // our client keeps the mesh key
		t.Fatal(err)
	}
	bob.must("send", "@all", "again")
	inbox.stop()
}

// v1SafetyNumber returns the safety number that v1 clients show.
func v1SafetyNumber(t *testing.T, a, b string) string {
	t.Helper()
	keys := []string{a, b}
	slices.Sort(keys)
	raw, err := hex.DecodeString(keys[0] + keys[1])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	n := new(big.Int).SetBytes(sum[:15])
	groups := make([]string, 6)
	for i := range groups {
		bits := new(big.Int).Rsh(n, uint(100-20*i))
		groups[i] = fmt.Sprintf("%05d", bits.And(bits, big.NewInt(1<<20-1)).Int64()%100_000)
	}
	return strings.Join(groups, " ")
}

func safetyNumbers(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	carol := joinV1(t, s, alice.invite("--format", "v1"), "carol")
	carol.daemon(t)
	inbox := bob.start("inbox", "--follow")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 2 })
	own := alice.config().str("pubkey")
	shown := func(name string) string { return strings.Join(strings.Fields(alice.must("verify", name)), " ") }
	if out := shown("carol"); !strings.Contains(out, v1SafetyNumber(t, own, carol.keys.hex)) || !strings.Contains(out, "v1 safety number") {
		t.Errorf("verify of a v1 peer prints\n%s", out)
	}
	if out := shown("bob"); strings.Contains(out, "v1") {
		t.Errorf("verify of a peer of ours prints\n%s", out)
	}
	inbox.stop()
	await.Until(t, "bob has left", func() bool { return len(alice.list("peers", "--json")) == 1 })
	if out := shown("bob"); !strings.Contains(out, v1SafetyNumber(t, own, bob.config().str("pubkey"))) {
		t.Errorf("verify of an absent peer, which may be a v1 client, prints\n%s", out)
	}
}

// personWithoutSession checks that a v1 client can write to a member without a session, as
// docs/client.md says.
func personWithoutSession(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	carol := joinV1(t, s, alice.invite("--format", "v1"), "carol")
	key := newKeys()
	c := carol.session(t, key)
	inbox := bob.start("inbox", "--follow", "--json")
	member := bob.config().str("pubkey")
	await.Until(t, "the roster has bob's member key", func() bool {
		return slices.ContainsFunc(c.peers(), func(row frame) bool {
			return row.str("memberPubkey") == member && row.str("peerRole") == "control-plane"
		})
	})
	nonce, ciphertext := key.seal(t, member, "for bob")
	c.post(frame{"type": "send", "id": uniqueID(), "targetSpec": member, "priority": "next", "nonce": nonce, "ciphertext": ciphertext})
	if m := parse(t, inbox.line()); m.str("body") != "for bob" || m.str("sealing") != "direct" || m["verified"] != true {
		t.Errorf("bob got %s", m)
	}
	inbox.stop()
}

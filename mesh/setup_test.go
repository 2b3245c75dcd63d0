package mesh

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/identitytest"
	"github.com/claudemesh/claudemesh/wire"
)

var testNow = time.Date(2026, 5, 6, 7, 8, 9, 123_000_000, time.UTC)

const testSealed = "c2VhbGVkIG1lc2gga2V5"

// world is a mesh with an owner, two admins and a normal member.
type world struct {
	*Directory
	t     *testing.T
	store *memStore
	mesh  Mesh
	owner Member

	ownerKey, adminKey, admin2Key, normalKey identity.KeyPair
	asOwner, asAdmin, asNormal               Actor
	room                                     func() int // the member limit
}

func roomForAll() int { return 1000 }

var newKey = identitytest.Pair

func setup(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: newMemStore(), ownerKey: newKey(t), adminKey: newKey(t), admin2Key: newKey(t), normalKey: newKey(t)}
	w.room = roomForAll
	w.Directory = NewDirectory(w.store, func() int { return w.room() })
	var err error
	if w.mesh, w.owner, err = w.Create(t.Context(), createBody(w.ownerKey, testNow, nil), testNow); err != nil {
		t.Fatal(err)
	}
	w.asOwner = Actor{w.mesh.ID, w.owner.ID}
	w.asAdmin = w.join(w.adminKey, Admin)
	w.join(w.admin2Key, Admin)
	w.asNormal = w.join(w.normalKey, Normal)
	return w
}

// join adds a member with the key and role.
func (w *world) join(key identity.KeyPair, role Role) Actor {
	w.t.Helper()
	l := w.link(w.asOwner, func(c *wire.InviteCreate) { c.Role = string(role) })
	_, joined, err := w.Claim(w.t.Context(), l.code, l.claim(key, testNow), testNow)
	if err != nil {
		w.t.Fatal(err)
	}
	return Actor{w.mesh.ID, joined.Member.ID}
}

func (w *world) member(key identity.KeyPair) *Member {
	w.t.Helper()
	v, err := w.Get(w.t.Context(), w.mesh.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	m, ok := v.Member(key.Public())
	if !ok {
		w.t.Fatalf("no member has the key %s", key.Public().Short())
	}
	return m
}

// used returns how often an invite was used.
func (w *world) used(id wire.ID) int64 {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.invites[id].Used
}

// createBody returns a valid request to create a mesh, after spoil, if not nil, changed
// it before the signing.
func createBody(owner identity.KeyPair, now time.Time, spoil func(*wire.CreateMesh)) wire.CreateMesh {
	c := wire.CreateMesh{
		Slug: "team.x-1", Name: "Team “X”", DisplayName: "Zoë",
		OwnerPubkey: owner.Public().String(), Timestamp: now.UnixMilli(),
	}
	if spoil != nil {
		spoil(&c)
	}
	c.Signature = owner.Sign(wire.CreateMeshSigningText(c.Slug, c.Name, c.DisplayName, owner.Public(), c.Timestamp)).String()
	return c
}

// testLink is an invite link with its secret half.
type testLink struct {
	Invite
	code string
	key  identity.KeyPair
}

func linkBody(t *testing.T, key identity.KeyPair) wire.InviteCreate {
	t.Helper()
	random := newKey(t).Public()
	return wire.InviteCreate{
		Role: "member", Uses: 3, ExpiresAt: testNow.Add(time.Hour).UnixMilli(),
		Groups: []wire.Group{{Name: "dev/go", Role: "lead"}},
		Code:   random.String()[:22], ClaimPubkey: key.Public().String(), SealedRootKey: testSealed,
	}
}

func (w *world) link(a Actor, adjust func(*wire.InviteCreate)) testLink {
	w.t.Helper()
	key := newKey(w.t)
	c := linkBody(w.t, key)
	if adjust != nil {
		adjust(&c)
	}
	inv, err := w.CreateInvite(w.t.Context(), a, c, testNow)
	if err != nil {
		w.t.Fatal(err)
	}
	return testLink{inv, c.Code, key}
}

func (l testLink) claim(member identity.KeyPair, now time.Time) wire.Claim {
	ts := now.UnixMilli()
	return wire.Claim{
		PeerPubkey: member.Public().String(), DisplayName: "Newcomer " + member.Public().Short(), Timestamp: ts,
		Signature: l.key.Sign(wire.ClaimSigningText(l.code, member.Public(), ts)).String(),
	}
}

// v1Claim returns a claim of a v1 client.
func v1Claim() wire.Claim {
	return wire.Claim{RecipientX25519: base64.RawURLEncoding.EncodeToString(make([]byte, 32))}
}

// payload returns a v1 invite of the mesh, after spoil, if not nil, changed it before the
// signing.
func (w *world) payload(spoil func(*wire.InviteV1)) wire.InviteV1 {
	p := wire.InviteV1{
		V: 1, MeshID: w.mesh.ID.String(), MeshSlug: w.mesh.Slug, BrokerURL: "wss://mesh.example/ws",
		ExpiresAt: testNow.Add(time.Hour).Unix(), MeshRootKey: base64.RawURLEncoding.EncodeToString(make([]byte, 32)),
		Role: "member", OwnerPubkey: w.ownerKey.Public().String(),
	}
	if spoil != nil {
		spoil(&p)
	}
	p.Signature = w.ownerKey.Sign(p.SigningText()).String()
	return p
}

func tokenOf(t *testing.T, p wire.InviteV1) string {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func proofOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// register creates the invite for a token.
func (w *world) register(token string, adjust func(*wire.InviteCreate)) Invite {
	w.t.Helper()
	c := wire.InviteCreate{Role: "member", Uses: 2, ExpiresAt: testNow.Add(time.Hour).UnixMilli(), TokenProof: proofOf(token)}
	if adjust != nil {
		adjust(&c)
	}
	inv, err := w.CreateInvite(w.t.Context(), w.asOwner, c, testNow)
	if err != nil {
		w.t.Fatal(err)
	}
	return inv
}

func joinBody(token string, p *wire.InviteV1, member identity.KeyPair) wire.Join {
	return wire.Join{InviteToken: token, InvitePayload: p, PeerPubkey: member.Public().String(), DisplayName: "Newcomer"}
}

// wantCode checks that err is a refusal with the code, or nil for "".
func wantCode(t *testing.T, err error, code wire.Code) {
	t.Helper()
	var refusal *Refusal
	switch {
	case code == "":
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
	case !errors.As(err, &refusal):
		t.Errorf("error %v, want the refusal %s", err, code)
	case refusal.Code != code:
		t.Errorf("refused as %q, want %s", err.Error(), code)
	case strings.TrimSpace(refusal.Message) == "":
		t.Errorf("refusal %s has no message", code)
	}
}

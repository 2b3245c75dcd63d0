package mesh

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

func TestJoin(t *testing.T) {
	t.Parallel()
	shapes := map[string]func(token string, p wire.InviteV1, k identity.KeyPair) wire.Join{
		"token and payload": func(token string, p wire.InviteV1, k identity.KeyPair) wire.Join { return joinBody(token, &p, k) },
		"token alone":       func(token string, _ wire.InviteV1, k identity.KeyPair) wire.Join { return joinBody(token, nil, k) },
		"proof": func(token string, _ wire.InviteV1, k identity.KeyPair) wire.Join {
			j := joinBody("", nil, k)
			j.TokenProof = proofOf(token)
			return j
		},
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, key := setup(t), newKey(t)
			p := w.payload(nil)
			token := tokenOf(t, p)
			inv := w.register(token, func(c *wire.InviteCreate) {
				c.Role, c.Groups = "admin", []wire.Group{{Name: "ops"}}
			})
			first, err := w.Join(t.Context(), shape(token, p, key), testNow)
			if err != nil {
				t.Fatal(err)
			}
			m := first.Member
			if first.AlreadyMember || first.InviteID != inv.ID || first.Mesh != w.mesh || m.Key != key.Public() ||
				m.Role != Admin || len(m.Groups) != 1 || m.DisplayName != "Newcomer" || !m.JoinedAt.Equal(testNow) {
				t.Errorf("joined %+v, member %+v", first, m)
			}
			if w.member(key) != m {
				t.Error("the member is not in memory")
			}
			again, err := w.Join(t.Context(), shape(token, p, key), testNow)
			if err != nil || !again.AlreadyMember || again.Member.ID != m.ID {
				t.Errorf("joined again: %+v, %v", again, err)
			}
			if n := w.used(inv.ID); n != 1 {
				t.Errorf("%d uses burned, want 1", n)
			}
		})
	}
}

// TestJoinRefusals has one row per refusal. Where possible, the row's request would fail
// the later checks, too.
func TestJoinRefusals(t *testing.T) {
	t.Parallel()
	type body struct {
		token   string
		payload *wire.InviteV1
	}
	signed := func(spoil func(*wire.InviteV1)) func(*world) body {
		return func(w *world) body {
			p := w.payload(spoil)
			return body{tokenOf(w.t, p), &p}
		}
	}
	registered := func(adjust func(*wire.InviteCreate)) func(*world) body {
		return func(w *world) body {
			p := w.payload(nil)
			token := tokenOf(w.t, p)
			w.register(token, adjust)
			return body{token, &p}
		}
	}
	cases := []struct {
		name  string
		setup func(*world) body
		at    time.Duration
		code  wire.Code
	}{
		{"no token", func(*world) body { return body{} }, 0, wire.CodeMalformed},
		{"payload alone", func(w *world) body { p := w.payload(nil); return body{"", &p} }, 0, wire.CodeMalformed},
		{"token isn't base64", func(*world) body { return body{"§§§", nil} }, 0, codeInviteBadSignature},
		{"token is padded", func(w *world) body { return body{tokenOf(w.t, w.payload(nil)) + "=", nil} }, 0, codeInviteBadSignature},
		{"token isn't JSON", func(*world) body { return body{"AAAA", nil} }, 0, codeInviteBadSignature},
		{"other version", signed(func(p *wire.InviteV1) { p.V = 2 }), 0, codeInviteBadSignature},
		{"no owner", signed(func(p *wire.InviteV1) { p.OwnerPubkey = "" }), 0, codeInviteBadSignature},
		{"signed by somebody else", signed(func(p *wire.InviteV1) { p.OwnerPubkey = strings.Repeat("58", 32) }), 0, codeInviteBadSignature},
		{"changed after it was signed", func(w *world) body {
			p := w.payload(nil)
			p.ExpiresAt++
			return body{tokenOf(w.t, p), &p}
		}, 0, codeInviteBadSignature},
		{"payload of another token", func(w *world) body {
			p := w.payload(nil)
			token := tokenOf(w.t, p)
			w.register(token, nil)
			other := w.payload(func(p *wire.InviteV1) { p.Role = "admin" })
			return body{token, &other}
		}, 0, codeInviteBadSignature},
		{"unknown mesh", signed(func(p *wire.InviteV1) { p.MeshID = wire.ID{9}.String() }), 0, codeMeshNotFound},
		{"malformed mesh id", signed(func(p *wire.InviteV1) { p.MeshID = "V1StyleMeshId" }), 0, codeMeshNotFound},
		{"mesh of another owner", func(w *world) body {
			p := w.payload(nil)
			other, _, err := w.Create(w.t.Context(), createBody(newKey(w.t), testNow, nil), testNow)
			if err != nil {
				w.t.Fatal(err)
			}
			p.MeshID = other.ID.String()
			p.Signature = w.ownerKey.Sign(p.SigningText()).String()
			return body{tokenOf(w.t, p), &p}
		}, 0, codeInviteOwnerMismatch},
		{"not registered", signed(nil), 0, codeInviteNotFound},
		{"registered for another mesh", func(w *world) body {
			other, _, err := w.Create(w.t.Context(), createBody(w.ownerKey, testNow.Add(1e6), nil), testNow)
			if err != nil {
				w.t.Fatal(err)
			}
			p := w.payload(func(p *wire.InviteV1) { p.MeshID = other.ID.String() })
			token := tokenOf(w.t, p)
			w.register(token, nil)
			return body{token, &p}
		}, 0, codeInviteMeshMismatch},
		{"revoked, expired", func(w *world) body {
			p := w.payload(nil)
			token := tokenOf(w.t, p)
			inv := w.register(token, nil)
			if err := w.RevokeInvite(w.t.Context(), w.asOwner, inv.ID, testNow); err != nil {
				w.t.Fatal(err)
			}
			return body{token, &p}
		}, 2 * time.Hour, codeInviteRevoked},
		{"registration expired", registered(func(c *wire.InviteCreate) { c.ExpiresAt = testNow.Add(time.Minute).UnixMilli() }), time.Minute, codeInviteExpired},
		{"payload expired", registered(func(c *wire.InviteCreate) { c.ExpiresAt = testNow.Add(9 * time.Hour).UnixMilli() }), time.Hour, codeInviteExpired},
		{"last moment", registered(nil), time.Hour - time.Second, ""},
		{"exhausted", func(w *world) body {
			b := registered(func(c *wire.InviteCreate) { c.Uses = 1 })(w)
			if _, err := w.Join(w.t.Context(), joinBody(b.token, b.payload, newKey(w.t)), testNow); err != nil {
				w.t.Fatal(err)
			}
			return b
		}, 0, codeInviteExhausted},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, key := setup(t), newKey(t)
			b := c.setup(w)
			_, err := w.Join(t.Context(), joinBody(b.token, b.payload, key), testNow.Add(c.at))
			wantCode(t, err, c.code)
			var refusal *Refusal
			if strings.HasPrefix(string(c.code), "invite_") && errors.As(err, &refusal) && refusal.JoinError() != string(c.code) {
				t.Errorf("JoinError is %q", refusal.JoinError())
			}
			v, _ := w.Get(t.Context(), w.mesh.ID)
			if _, in := v.Member(key.Public()); in != (c.code == "") {
				t.Errorf("got a member: %v, want %v", in, c.code == "")
			}
		})
	}
}

func TestJoinBadFields(t *testing.T) {
	t.Parallel()
	w, key := setup(t), newKey(t)
	p := w.payload(nil)
	token := tokenOf(t, p)
	w.register(token, nil)
	for name, spoil := range map[string]func(*wire.Join){
		"no key":            func(j *wire.Join) { j.PeerPubkey = "" },
		"zero key":          func(j *wire.Join) { j.PeerPubkey = wire.Key{}.String() },
		"key in upper case": func(j *wire.Join) { j.PeerPubkey = strings.ToUpper(j.PeerPubkey[:63]) + "A" },
		"proof and token":   func(j *wire.Join) { j.TokenProof = proofOf(token) },
		"short proof":       func(j *wire.Join) { j.InviteToken, j.InvitePayload, j.TokenProof = "", nil, "ab" },
	} {
		j := joinBody(token, &p, key)
		spoil(&j)
		_, err := w.Join(t.Context(), j, testNow)
		t.Log(name)
		wantCode(t, err, wire.CodeMalformed)
		var refusal *Refusal
		if errors.As(err, &refusal) && (refusal.JoinError() != refusal.Message) {
			t.Errorf("JoinError is %q", refusal.JoinError())
		}
	}
	j := wire.Join{TokenProof: strings.Repeat("0", 64), PeerPubkey: key.Public().String()}
	_, err := w.Join(t.Context(), j, testNow)
	wantCode(t, err, codeInviteNotFound)
}

// TestTheStoredHashOpensNothing checks that the hashes in the database cannot be used as a
// token's proof.
func TestTheStoredHashOpensNothing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	inv := w.register(tokenOf(t, w.payload(nil)), nil)
	j := wire.Join{TokenProof: wire.Key(inv.TokenHash).String(), PeerPubkey: newKey(t).Public().String()}
	_, err := w.Join(t.Context(), j, testNow)
	wantCode(t, err, codeInviteNotFound)
}

func TestRemovedStaysOut(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if _, err := w.Remove(t.Context(), w.asOwner, w.normalKey.Public(), testNow); err != nil {
		t.Fatal(err)
	}
	p := w.payload(nil)
	token := tokenOf(t, p)
	inv, l := w.register(token, nil), w.link(w.asOwner, nil)
	_, err := w.Join(t.Context(), joinBody(token, &p, w.normalKey), testNow)
	wantCode(t, err, wire.CodeForbidden)
	if !errors.Is(err, ErrRemoved) {
		t.Errorf("error %v, want ErrRemoved", err)
	}
	_, _, err = w.Claim(t.Context(), l.code, l.claim(w.normalKey, testNow), testNow)
	wantCode(t, err, wire.CodeForbidden)
	if w.used(inv.ID)+w.used(l.ID) != 0 || !w.member(w.normalKey).Removed() {
		t.Error("a removed key used an invite or came back")
	}
}

// TestRacingForAnInvite lets many keys, each several times at once, race for two invites
// with few uses. Each use must admit one key, and no key twice.
func TestRacingForAnInvite(t *testing.T) {
	t.Parallel()
	w := setup(t)
	p := w.payload(nil)
	token := tokenOf(t, p)
	inv := w.register(token, func(c *wire.InviteCreate) { c.Uses = 3 })
	l := w.link(w.asOwner, func(c *wire.InviteCreate) { c.Uses = 4 })
	var mu sync.Mutex
	ids := map[wire.Key]map[wire.ID]bool{}
	fresh := 0
	record := func(key wire.Key, joined Joined, err error, exhausted wire.Code) {
		mu.Lock()
		defer mu.Unlock()
		var refusal *Refusal
		switch {
		case err == nil:
			if ids[key] == nil {
				ids[key] = map[wire.ID]bool{}
			}
			ids[key][joined.Member.ID] = true
			if !joined.AlreadyMember {
				fresh++
			}
		case !errors.As(err, &refusal) || refusal.Code != exhausted:
			t.Errorf("error %v", err)
		}
	}
	var wg sync.WaitGroup
	for range 12 {
		key := newKey(t)
		for range 3 {
			wg.Go(func() {
				joined, err := w.Join(t.Context(), joinBody(token, &p, key), testNow)
				record(key.Public(), joined, err, codeInviteExhausted)
			})
			wg.Go(func() {
				_, joined, err := w.Claim(t.Context(), l.code, l.claim(key, testNow), testNow)
				record(key.Public(), joined, err, CodeExhausted)
			})
		}
	}
	wg.Wait()
	if fresh != 7 || len(ids) != 7 || w.used(inv.ID) != 3 || w.used(l.ID) != 4 {
		t.Errorf("%d admitted, %d keys, %d and %d uses; want 7, 7, 3 and 4", fresh, len(ids), w.used(inv.ID), w.used(l.ID))
	}
	for key, members := range ids {
		if len(members) != 1 {
			t.Errorf("key %s became %d members", key.Short(), len(members))
		}
	}
}

func FuzzOpenToken(f *testing.F) {
	for _, s := range []string{"", "AAAA", "e30", "bnVsbA", "eyJ2IjoxfQ", "eyJ2IjoxLCJvd25lcl9wdWJrZXkiOiIifQ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if p, ok := openToken(token); ok {
			t.Fatalf("accepted an unsigned token: %+v", p)
		}
	})
}

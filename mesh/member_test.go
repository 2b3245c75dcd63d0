package mesh

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

func TestSetRole(t *testing.T) {
	t.Parallel()
	stranger := newKey(t).Public()
	cases := []struct {
		name   string
		actor  func(*world) Actor
		target func(*world) wire.Key
		role   Role
		code   wire.Code
	}{
		{"owner promotes", owner, normal, Admin, ""},
		{"owner demotes", owner, admin, Normal, ""},
		{"owner repeats", owner, admin, Admin, ""},
		{"owner makes an owner", owner, admin, Owner, wire.CodeInvalid},
		{"owner makes nonsense", owner, admin, "king", wire.CodeInvalid},
		{"owner abdicates", owner, ownerKey, Normal, wire.CodeForbidden},
		{"admin promotes", asAdmin, normal, Admin, wire.CodeForbidden},
		{"admin demotes the owner", asAdmin, ownerKey, Normal, wire.CodeForbidden},
		{"member promotes itself", asNormal, normal, Admin, wire.CodeForbidden},
		{"stranger promotes", nobody, normal, Admin, wire.CodeForbidden},
		{"owner promotes a stranger", owner, func(*world) wire.Key { return stranger }, Admin, wire.CodeNotFound},
		{"owner promotes nobody", owner, func(*world) wire.Key { return wire.Key{} }, Admin, wire.CodeNotFound},
		{"unknown mesh", func(w *world) Actor { return Actor{wire.ID{9}, w.owner.ID} }, normal, Admin, wire.CodeNotFound},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			v, _ := w.Get(t.Context(), w.mesh.ID)
			before, known := v.Member(c.target(w))
			m, was, err := w.SetRole(t.Context(), c.actor(w), c.target(w), c.role)
			wantCode(t, err, c.code)
			after, _ := v.Member(c.target(w))
			switch {
			case c.code != "" && known && after.Role != before.Role:
				t.Errorf("role changed to %s", after.Role)
			case c.code != "":
			case m.Role != c.role || was != before.Role || after != m || w.store.members[m.ID].Role != c.role:
				t.Errorf("was %s, is %s, memory %s, store %s", was, m.Role, after.Role, w.store.members[m.ID].Role)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	stranger := newKey(t).Public()
	cases := []struct {
		name   string
		actor  func(*world) Actor
		target func(*world) wire.Key
		code   wire.Code
	}{
		{"owner removes an admin", owner, admin, ""},
		{"owner removes a member", owner, normal, ""},
		{"admin removes a member", asAdmin, normal, ""},
		{"owner removes itself", owner, ownerKey, wire.CodeForbidden},
		{"admin removes the owner", asAdmin, ownerKey, wire.CodeForbidden},
		{"admin removes an admin", asAdmin, func(w *world) wire.Key { return w.admin2Key.Public() }, wire.CodeForbidden},
		{"admin leaves", asAdmin, admin, ""},
		{"member leaves", asNormal, normal, ""},
		{"member removes an admin", asNormal, admin, wire.CodeForbidden},
		{"stranger removes", nobody, normal, wire.CodeForbidden},
		{"owner removes a stranger", owner, func(*world) wire.Key { return stranger }, wire.CodeNotFound},
		{"unknown mesh", func(w *world) Actor { return Actor{wire.ID{9}, w.owner.ID} }, normal, wire.CodeNotFound},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			m, err := w.Remove(t.Context(), c.actor(w), c.target(w), testNow)
			wantCode(t, err, c.code)
			v, _ := w.Get(t.Context(), w.mesh.ID)
			after, known := v.Member(c.target(w))
			if removed := known && after.Removed(); removed != (c.code == "") {
				t.Errorf("got removed %v, want %v", removed, c.code == "")
			}
			if c.code != "" {
				return
			}
			if c.actor(w).MemberID == m.ID {
				_, err := w.Remove(t.Context(), c.actor(w), c.target(w), testNow)
				wantCode(t, err, wire.CodeForbidden) // the actor has left
				return
			}
			again, err := w.Remove(t.Context(), c.actor(w), c.target(w), testNow.Add(time.Hour))
			if err != nil || !again.RemovedAt.Equal(m.RemovedAt) {
				t.Errorf("removed again: %+v, %v", again, err)
			}
		})
	}
}

// TestRemovedMembersHaveNoRights checks that a removed member has lost all its rights.
func TestRemovedMembersHaveNoRights(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if _, err := w.Remove(t.Context(), w.asOwner, w.adminKey.Public(), testNow); err != nil {
		t.Fatal(err)
	}
	_, err := w.Remove(t.Context(), w.asAdmin, w.normalKey.Public(), testNow)
	wantCode(t, err, wire.CodeForbidden)
	_, err = w.CreateInvite(t.Context(), w.asAdmin, linkBody(t, newKey(t)), testNow)
	wantCode(t, err, wire.CodeForbidden)
	_, err = w.SetGrant(t.Context(), w.asAdmin, w.normalKey.Public(), nil, false)
	wantCode(t, err, wire.CodeForbidden)
	_, _, err = w.SetRole(t.Context(), w.asOwner, w.adminKey.Public(), Normal)
	wantCode(t, err, wire.CodeNotFound)
	if w.member(w.adminKey).CanAdmin() {
		t.Error("a removed admin is an admin")
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	self, friend, blocked, stranger := wire.Key{1}, wire.Key{2}, wire.Key{3}, wire.Key{4}
	m := &Member{Key: self, Grants: map[wire.Key][]string{friend: {GrantRead, GrantDM}, blocked: {}, self: {}}}
	cases := []struct {
		name       string
		sender     wire.Key
		capability string
		want       bool
	}{
		{"granted", friend, GrantDM, true},
		{"not granted", friend, GrantBroadcast, false},
		{"blocked", blocked, GrantDM, false},
		{"blocked from reading", blocked, GrantRead, false},
		{"default read", stranger, GrantRead, true},
		{"default dm", stranger, GrantDM, true},
		{"default broadcast", stranger, GrantBroadcast, true},
		{"default state-read", stranger, GrantStateRead, true},
		{"no such capability", stranger, "root", false},
		{"oneself", self, GrantDM, true},
	}
	for _, c := range cases {
		if got := m.Allows(c.sender, c.capability); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSetGrant(t *testing.T) {
	t.Parallel()
	w := setup(t)
	other := w.adminKey.Public()
	steps := []struct {
		name      string
		caps      []string
		toDefault bool
		dm, read  bool
	}{
		{"some", []string{GrantDM, GrantDM}, false, true, false},
		{"blocked", nil, false, false, false},
		{"default", []string{GrantDM}, true, true, true},
		{"default again", nil, true, true, true},
		{"blocked again", []string{}, false, false, false},
	}
	for _, s := range steps {
		before := w.member(w.normalKey)
		old := len(before.Grants)
		if _, err := w.SetGrant(t.Context(), w.asNormal, other, s.caps, s.toDefault); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if len(before.Grants) != old {
			t.Errorf("%s: a member in use was changed", s.name)
		}
		m, stored := w.member(w.normalKey), w.store.members[w.asNormal.MemberID]
		for _, m := range []*Member{m, &stored} {
			if m.Allows(other, GrantDM) != s.dm || m.Allows(other, GrantRead) != s.read {
				t.Errorf("%s: grants are %v", s.name, m.Grants)
			}
		}
	}
}

func TestSetGrantRefusals(t *testing.T) {
	t.Parallel()
	w := setup(t)
	cases := []struct {
		name  string
		actor Actor
		other wire.Key
		caps  []string
		code  wire.Code
	}{
		{"to oneself", w.asNormal, w.normalKey.Public(), nil, wire.CodeInvalid},
		{"to a stranger", w.asNormal, newKey(t).Public(), nil, wire.CodeNotFound},
		{"to nobody", w.asNormal, wire.Key{}, nil, wire.CodeNotFound},
		{"unknown capability", w.asNormal, w.adminKey.Public(), []string{GrantDM, "root"}, wire.CodeInvalid},
		{"by a stranger", nobody(w), w.adminKey.Public(), nil, wire.CodeForbidden},
	}
	for _, c := range cases {
		_, err := w.SetGrant(t.Context(), c.actor, c.other, c.caps, false)
		t.Log(c.name)
		wantCode(t, err, c.code)
	}
	if grants := w.member(w.normalKey).Grants; len(grants) != 0 {
		t.Errorf("grants %v after refusals only", grants)
	}
}

// TestChangesDoNotOverwriteEachOther checks that concurrent changes to one member do not
// undo each other, although the Store writes whole members.
func TestChangesDoNotOverwriteEachOther(t *testing.T) {
	t.Parallel()
	w := setup(t)
	var wg sync.WaitGroup
	for _, other := range []identity.KeyPair{w.ownerKey, w.adminKey, w.admin2Key} {
		wg.Go(func() {
			if _, err := w.SetGrant(t.Context(), w.asNormal, other.Public(), nil, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		if _, _, err := w.SetRole(t.Context(), w.asOwner, w.normalKey.Public(), Admin); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	stored := w.store.members[w.asNormal.MemberID]
	if len(stored.Grants) != 3 || stored.Role != Admin {
		t.Errorf("role %s, %d grants; want admin, 3", stored.Role, len(stored.Grants))
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	long := slices.Repeat([]byte("é"), 65) // 130 bytes
	cases := []struct{ name, in, want string }{
		{"plain", "Zoë", "Zoë"},
		{"trimmed", "  a b\t", "a b"},
		{"control characters", "a\x00\x1b[31mb\n", "a[31mb"},
		{"direction", "a\u202e\u2066b", "ab"},
		{"bad UTF-8", "a\xffb\xc3", "ab"},
		{"nothing left", "\r\n \x07", "fallback"},
		{"empty", "", "fallback"},
		{"long", string(long), string(long[:128])},
		{"too long by half a rune", "x" + string(long), "x" + string(long[:126])},
		{"too long, truncated at a blank", "x" + string(long[:124]) + "   y", "x" + string(long[:124])},
	}
	for _, c := range cases {
		if got := cleanName(c.in, "fallback"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"", "Zoë", "\xff\xfe", "a\u202eb", string(slices.Repeat([]byte("é"), 65)), "\u2028\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := cleanName(s, "fallback")
		if !validName(got) {
			t.Fatalf("%q became %q", s, got)
		}
		if again := cleanName(got, "fallback"); again != got {
			t.Fatalf("%q became %q, then %q", s, got, again)
		}
	})
}

// Actors and keys for tables in which each row has its own world.
func owner(w *world) Actor    { return w.asOwner }
func asAdmin(w *world) Actor  { return w.asAdmin }
func asNormal(w *world) Actor { return w.asNormal }
func nobody(w *world) Actor   { return Actor{w.mesh.ID, wire.ID{1}} }

func ownerKey(w *world) wire.Key { return w.ownerKey.Public() }
func admin(w *world) wire.Key    { return w.adminKey.Public() }
func normal(w *world) wire.Key   { return w.normalKey.Public() }

package identity_test

import (
	"testing"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

func TestSuccession(t *testing.T) {
	t.Parallel()
	old, next, other := generate(t), generate(t), generate(t)
	sig := identity.SignSuccession(old, "mesh", next.Public())
	changed := sig
	changed[0] ^= 1
	for _, tc := range []struct {
		name, mesh string
		old, next  wire.Key
		sig        wire.Signature
		want       bool
	}{
		{"as signed", "mesh", old.Public(), next.Public(), sig, true},
		{"another mesh", "mesh2", old.Public(), next.Public(), sig, false},
		{"another successor", "mesh", old.Public(), other.Public(), sig, false},
		{"another predecessor", "mesh", other.Public(), next.Public(), sig, false},
		{"keys swapped", "mesh", next.Public(), old.Public(), sig, false},
		{"signed by the successor", "mesh", old.Public(), next.Public(), identity.SignSuccession(next, "mesh", next.Public()), false},
		{"itself", "mesh", old.Public(), old.Public(), identity.SignSuccession(old, "mesh", old.Public()), false},
		{"a changed signature", "mesh", old.Public(), next.Public(), changed, false},
		{"no signature", "mesh", old.Public(), next.Public(), wire.Signature{}, false},
		{"no key", "mesh", wire.Key{}, next.Public(), wire.Signature{}, false},
	} {
		if got := identity.VerifySuccession(tc.mesh, tc.old, tc.next, tc.sig); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}

// Package identitytest creates keys and attestations for tests.
package identitytest

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Pair returns a new key pair.
func Pair(t testing.TB) identity.KeyPair {
	t.Helper()
	pair, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// Attested returns a member's attestation of a session key, in its wire form.
func Attested(member identity.KeyPair, session wire.Key, until time.Time) *wire.Attestation {
	a := identity.Attest(member, session, until)
	return &wire.Attestation{
		SessionPubkey: session.String(), ParentMemberPubkey: member.Public().String(),
		ExpiresAt: a.ExpiresAt, Signature: a.Signature.String(),
	}
}

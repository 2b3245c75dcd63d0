package inbox

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t testing.TB) identity.KeyPair {
	t.Helper()
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func attested(member identity.KeyPair, session wire.Key, until time.Time) *wire.Attestation {
	a := identity.Attest(member, session, until)
	return &wire.Attestation{
		SessionPubkey: session.String(), ParentMemberPubkey: member.Public().String(),
		ExpiresAt: a.ExpiresAt, Signature: a.Signature.String(),
	}
}

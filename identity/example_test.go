package identity_test

import (
	"fmt"
	"log"
	"time"

	"github.com/claudemesh/claudemesh/identity"
)

// A member vouches for the key of one of its sessions.
func ExampleAttest() {
	member, session := newKey(), newKey()
	now := time.Now()
	attestation := identity.Attest(member, session.Public(), now.Add(identity.DefaultAttestationTTL))

	fmt.Println(attestation.Binds(member.Public(), session.Public()))
	fmt.Println(attestation.Verify(now))
	fmt.Println(attestation.Verify(now.Add(13 * time.Hour)))
	// Output:
	// <nil>
	// <nil>
	// attestation has expired
}

// Two people compare this number by voice. It is the same on both sides only if each has the other's
// key.
func ExampleSafetyNumber() {
	alice, bob := newKey().Public(), newKey().Public()
	mesh := "019b7cba90d07a4d8e5f1b2c3d4e5f60"
	fmt.Println(identity.SafetyNumber(mesh, alice, bob) == identity.SafetyNumber(mesh, bob, alice))
	// Output: true
}

func newKey() identity.KeyPair {
	pair, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	return pair
}

package envelope_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
)

// Seal a text so that only one key can open it. The sender's key proves who sealed it.
func ExampleSealDirect() {
	alice, bob := newKey(), newKey()

	nonce, ciphertext, err := envelope.SealDirect(alice, bob.Public(), []byte("the build is green"))
	if err != nil {
		log.Fatal(err)
	}

	text, err := envelope.OpenDirect(bob, alice.Public(), nonce, ciphertext)
	fmt.Printf("%s, %v\n", text, err)

	_, err = envelope.OpenDirect(newKey(), alice.Public(), nonce, ciphertext)
	fmt.Println("somebody else:", errors.Is(err, envelope.ErrOpen))
	// Output:
	// the build is green, <nil>
	// somebody else: true
}

// Seal a text for all members of a mesh, who have its key.
func ExampleSealMesh() {
	key := envelope.NewMeshKey()

	nonce, ciphertext, err := envelope.SealMesh(key, []byte("deploying now"))
	if err != nil {
		log.Fatal(err)
	}

	text, err := envelope.OpenMesh(key, nonce, ciphertext)
	fmt.Printf("%s, %v\n", text, err)
	// Output: deploying now, <nil>
}

// Put the mesh key into an invite that the broker stores but can't open. The secret is in the link's
// fragment, which clients don't send.
func ExampleLinkSecret() {
	owner := newKey()
	secret := envelope.NewLinkSecret()
	sealed, err := secret.SealInvite(envelope.InvitePayload{
		MeshID: "019b7cba90d07a4d8e5f1b2c3d4e5f60", Slug: "team", Name: "Team",
		OwnerPubkey: owner.Public(), Inviter: owner.Public(), RootKey: envelope.NewMeshKey().Encode(),
	})
	if err != nil {
		log.Fatal(err)
	}
	fragment := secret.Encode() // https://mesh.example.com/i/<code>#<fragment>

	// The guest has the link and gets the sealed payload from the broker.
	guest, err := envelope.ParseLinkSecret(fragment)
	if err != nil {
		log.Fatal(err)
	}
	invite, err := guest.OpenInvite(sealed)
	fmt.Println(invite.Name, err)
	fmt.Println(secret) // secrets never show
	// Output:
	// Team <nil>
	// LinkSecret(redacted)
}

func newKey() identity.KeyPair {
	pair, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	return pair
}

package peer_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/brokertest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// Send a message to a peer by its name. Send returns when the message is safe with the
// broker.
func ExampleClient_Send() {
	s := setUp()
	defer s.tearDown()
	ctx := context.Background()

	client, err := peer.Dial(ctx, peer.Options{Mesh: s.alice})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	bob, err := client.Resolve(ctx, "bob")
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := client.Send(ctx, peer.Outgoing{
		To:   []wire.Target{{Kind: wire.TargetKey, Key: bob.Key}},
		Body: []byte("the build is green"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("safe:", receipt.Queued)
	// Output: safe: true
}

// Take messages. The client acknowledges a message when OnMessage returns nil. Messages
// that arrived while the client was away come first.
func ExampleDial() {
	s := setUp()
	defer s.tearDown()
	s.send("the build is green")

	taken := make(chan peer.Incoming)
	client, err := peer.Dial(context.Background(), peer.Options{
		Mesh: s.bob,
		OnMessage: func(ctx context.Context, m peer.Incoming) error {
			select {
			case taken <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err() // it comes again
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	m := <-taken
	fmt.Printf("%s: %s (sealed: %s, verified: %t)\n", m.Name, m.Body, m.Sealing, m.Verified)
	// Output: alice: the build is green (sealed: direct, verified: true)
}

// Be a session, with a key and a mailbox separate from its member's. Keep the key:
// messages to the session wait for it.
func ExampleOptions_session() {
	s := setUp()
	defer s.tearDown()
	session, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	client, err := peer.Dial(ctx, peer.Options{
		Mesh:    s.bob,
		Session: session,
		About:   peer.About{SessionID: "ci-4711", Cwd: "/srv/ci", DisplayName: "ci", Groups: []wire.Group{{Name: "bots"}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	peers, err := client.ListPeers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for i := range peers {
		verified, _ := peer.VerifyRow(&peers[i], time.Now())
		fmt.Println(peers[i].DisplayName, peers[i].PeerRole, peers[i].Pubkey == session.Public(), verified)
	}
	// Output: ci session true true
}

// Create a mesh, and write a link with which one guest may join it.
func ExampleNewLinkInvite() {
	s := setUp()
	defer s.tearDown()
	ctx, now := context.Background(), time.Now()
	owner, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	created, err := peer.HTTP{BrokerURL: s.url}.CreateMesh(ctx, owner, "docs", "Docs", "carol", "", now)
	if err != nil {
		log.Fatal(err)
	}
	mesh := peer.Mesh{
		MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: "docs", Name: "Docs",
		Member: owner, BrokerURL: s.url, Key: envelope.NewMeshKey(), // which the broker never sees
	}

	link, invite, err := peer.NewLinkInvite(&mesh, owner.Public(), peer.InviteTerms{Role: "member", Uses: 1, ExpiresAt: now.Add(24 * time.Hour)})
	if err != nil {
		log.Fatal(err)
	}
	client, err := peer.Dial(ctx, peer.Options{Mesh: mesh})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.InviteCreate(ctx, invite); err != nil {
		log.Fatal(err)
	}

	// The guest has the text of the link, link.URL().
	joined, err := peer.Join(ctx, peer.Dir(s.dir), link, "dave", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(joined.Mesh.Name, joined.Role, joined.Mesh.Key.Equal(mesh.Key))
	// Output: Docs member true
}

// Find the mesh that the claudemesh command has joined on this machine.
func ExampleLoadConfig() {
	s := setUp()
	defer s.tearDown()
	s.isBobs()

	dir, err := peer.DefaultDir() // CLAUDEMESH_CONFIG_DIR, else ~/.claudemesh
	if err != nil {
		log.Fatal(err)
	}
	config, err := peer.LoadConfig(dir)
	if err != nil {
		log.Fatal(err)
	}
	mesh, err := config.Find("") // the only one; else by slug
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(mesh.Slug, mesh.BrokerURL == s.url)
	// Output: team true
}

// setting is a broker with a mesh that alice owns and bob has joined.
type setting struct {
	testing.TB // nil: an example has none
	dir, url   string
	alice, bob peer.Mesh
	end        func()
}

func setUp() *setting {
	dir, err := os.MkdirTemp("", "claudemesh-example-")
	if err != nil {
		log.Fatal(err)
	}
	s := &setting{dir: dir}
	s.url = brokertest.Start(s).URL()
	s.alice, s.bob = newTeam(s, s.url)
	return s
}

func (s *setting) tearDown() {
	s.end()
	if err := os.RemoveAll(s.dir); err != nil {
		log.Fatal(err)
	}
}

// isBobs makes this machine one where bob has joined the mesh, until tearDown.
func (s *setting) isBobs() {
	const variable = "CLAUDEMESH_CONFIG_DIR"
	before, end := os.Getenv(variable), s.end
	s.end = func() {
		_ = os.Setenv(variable, before) // an empty one means the same as none
		end()
	}
	if err := os.Setenv(variable, s.dir); err != nil {
		log.Fatal(err)
	}
	if err := peer.UpdateConfig(s.Context(), peer.Dir(s.dir), func(c *peer.Config) error { c.Put(s.bob); return nil }); err != nil {
		log.Fatal(err)
	}
}

// send sends bob a message from alice.
func (s *setting) send(text string) {
	client, err := peer.Dial(s.Context(), peer.Options{Mesh: s.alice})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	to := []wire.Target{{Kind: wire.TargetKey, Key: s.bob.Member.Public()}}
	if _, err := client.Send(s.Context(), peer.Outgoing{To: to, Body: []byte(text)}); err != nil {
		log.Fatal(err)
	}
}

func (s *setting) Helper()                  {}
func (s *setting) Context() context.Context { return context.Background() }
func (s *setting) Cleanup(f func())         { s.end = f }
func (s *setting) Fatal(args ...any)        { log.Fatal(args...) }
func (s *setting) Error(args ...any)        { log.Fatal(args...) }

func (s *setting) TempDir() string {
	dir, err := os.MkdirTemp(s.dir, "")
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

package daemon

import (
	"context"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/brokertest"
	"github.com/claudemesh/claudemesh/peer"
)

// create creates a mesh that the user owns.
func (u *user) create(b *brokertest.Server, slug string) {
	u.t.Helper()
	ctx := context.Background()
	key, err := identity.Generate()
	if err != nil {
		u.t.Fatal(err)
	}
	created, err := peer.HTTP{BrokerURL: b.URL()}.CreateMesh(ctx, key, slug, slug, u.name, "", time.Now())
	if err != nil {
		u.t.Fatal(err)
	}
	m := peer.Mesh{
		MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: slug, Name: slug,
		Member: key, BrokerURL: b.URL(), JoinedAt: time.Now(), Key: envelope.NewMeshKey(),
	}
	if err := peer.UpdateConfig(ctx, u.dir, func(c *peer.Config) error { c.Put(m); return nil }); err != nil {
		u.t.Fatal(err)
	}
}

// invite makes the guest a member of the user's first mesh.
func (u *user) invite(guest *user) {
	u.t.Helper()
	config, err := peer.LoadConfig(u.dir)
	if err != nil {
		u.t.Fatal(err)
	}
	m := config.Meshes[0]
	link, create, err := peer.NewLinkInvite(&m, m.Member.Public(), peer.InviteTerms{Role: "member", Uses: 1, ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		u.t.Fatal(err)
	}
	client := u.dial(peer.Options{})
	defer client.Close()
	if _, err := client.InviteCreate(context.Background(), create); err != nil {
		u.t.Fatal(err)
	}
	if _, err := peer.Join(context.Background(), guest.dir, link, guest.name, nil); err != nil {
		u.t.Fatal(err)
	}
}

// pair creates two members of one mesh, without daemons.
func pair(t *testing.T) (b *brokertest.Server, alice, bob *user) {
	t.Helper()
	b = startBroker(t)
	alice, bob = newUser(t, "alice"), newUser(t, "bob")
	alice.create(b, "team")
	alice.invite(bob)
	return b, alice, bob
}

// dialSession opens a session connection of the user beside the daemon.
func (u *user) dialSession(o peer.Options) *peer.Client {
	u.t.Helper()
	config, err := peer.LoadConfig(u.dir)
	if err != nil {
		u.t.Fatal(err)
	}
	o.Mesh, o.TakesReceipts = config.Meshes[0], true
	if o.Session, err = identity.Generate(); err != nil {
		u.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := peer.Dial(ctx, o)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(client.Close)
	return client
}

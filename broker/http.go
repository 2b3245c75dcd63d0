package broker

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

// The methods of this file serve HTTP routes. Their errors are *mesh.Refusal when
// the rules forbid the request. Any other error means that the storage is
// unreachable.

// CreateMesh makes a mesh for the key that signed the request. The caller decides whether the
// client may.
func (b *Broker) CreateMesh(ctx context.Context, c wire.CreateMesh) (wire.CreateMeshResult, error) {
	ctx, done, err := b.begin(ctx)
	if err != nil {
		return wire.CreateMeshResult{}, err
	}
	defer done()
	now := time.Now()
	m, owner, err := b.meshes.Create(ctx, c, now)
	if err != nil {
		return wire.CreateMeshResult{}, err
	}
	b.journal.Record(audit.NewEvent(m.ID, now, owner.ID.String(), audit.MeshCreatedDetail{Slug: m.Slug}))
	return wire.CreateMeshResult{MeshID: m.ID, MemberID: owner.ID}, nil
}

// Join makes the holder of a v1 token a member.
func (b *Broker) Join(ctx context.Context, j wire.Join) (memberID string, already bool, err error) {
	ctx, done, err := b.begin(ctx)
	if err != nil {
		return "", false, err
	}
	defer done()
	joined, err := b.meshes.Join(ctx, j, time.Now())
	if err != nil {
		return "", false, err
	}
	b.recordJoined(joined)
	return joined.Member.ID.String(), joined.AlreadyMember, nil
}

// Claim makes the holder of an invite link a member.
func (b *Broker) Claim(ctx context.Context, code string, c wire.Claim) (wire.ClaimResult, error) {
	ctx, done, err := b.begin(ctx)
	if err != nil {
		return wire.ClaimResult{}, err
	}
	defer done()
	result, joined, err := b.meshes.Claim(ctx, code, c, time.Now())
	if err != nil {
		return wire.ClaimResult{}, err
	}
	b.recordJoined(joined)
	return result, nil
}

func (b *Broker) recordJoined(j mesh.Joined) {
	if j.AlreadyMember {
		return
	}
	m := j.Member
	b.journal.Record(audit.NewEvent(m.MeshID, time.Now(), m.ID.String(), audit.MemberJoinedDetail{
		Member: m.ID, Key: m.Key, Role: string(m.Role), Invite: j.InviteID,
	}))
}

// Invite tells what a person who opens an invite link may know.
func (b *Broker) Invite(ctx context.Context, code string) (mesh.InviteInfo, error) {
	ctx, done, err := b.begin(ctx)
	if err != nil {
		return mesh.InviteInfo{}, err
	}
	defer done()
	return b.meshes.InviteInfo(ctx, code, time.Now())
}

// MeshOfInvite returns the mesh of an invite link, or the zero ID if there is none. It does not
// load the mesh.
func (b *Broker) MeshOfInvite(ctx context.Context, code string) (wire.ID, error) {
	if err := b.reached(); err != nil {
		return wire.ID{}, err
	}
	ctx, cancel := b.requestContext(ctx)
	defer cancel()
	return b.meshes.MeshOfLink(ctx, code)
}

// MeshOfToken returns the mesh of a join's token, or the zero ID if there is none. It does not load
// the mesh.
func (b *Broker) MeshOfToken(ctx context.Context, j wire.Join) (wire.ID, error) {
	if err := b.reached(); err != nil {
		return wire.ID{}, err
	}
	ctx, cancel := b.requestContext(ctx)
	defer cancel()
	return b.meshes.MeshOfToken(ctx, j)
}

// begin begins a request about a mesh. It returns the context of the request; see requestContext.
func (b *Broker) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	if err := b.reached(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := b.requestContext(ctx)
	served := b.requests.begin()
	return ctx, func() { served(); cancel() }, nil
}

// requestContext bounds a request that waits for the storage. A server that shuts down waits for its
// requests before it stops the broker, so Drain hurries them.
func (b *Broker) requestContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, storagePatience)
	stop := context.AfterFunc(b.serving, cancel)
	return ctx, func() { stop(); cancel() }
}

// requestsGrace is how long a request over HTTP may take after Drain.
const requestsGrace = 2 * time.Second

// reached returns an error before the storage was opened and after it was closed.
func (b *Broker) reached() error {
	if b.draining.Load() {
		return errors.New("shutting down")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.notOpen
}

package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// The methods of this file serve the operator, who may know who talks through the broker,
// and never what is said.

// MeshOverview describes a mesh in memory.
type MeshOverview struct {
	ID          wire.ID `json:"id"`
	Slug        string  `json:"slug"`
	Name        string  `json:"name"`
	Members     int     `json:"members"`
	Presences   int     `json:"presences"`
	Connections int     `json:"connections"`
}

// PresenceOverview describes somebody who is in a mesh, or may come back.
type PresenceOverview struct {
	Name      string    `json:"name"`
	Role      string    `json:"role"` // session or control-plane
	Status    string    `json:"status"`
	Online    bool      `json:"online"`
	Key       wire.Key  `json:"key"`
	Member    wire.Key  `json:"member"`
	Host      string    `json:"host,omitempty"`
	Connected time.Time `json:"connected_at"`
	LastSeen  time.Time `json:"last_seen_at"`
}

// MemberOverview describes a member of a mesh.
type MemberOverview struct {
	ID      wire.ID   `json:"id"`
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	State   string    `json:"state"` // member, removed or banned
	Key     wire.Key  `json:"key"`
	Joined  time.Time `json:"joined_at"`
	Present int       `json:"presences"`
}

// Meshes lists the meshes in memory, which are those where somebody is or lately was.
func (b *Broker) Meshes() []MeshOverview {
	list := []MeshOverview{}
	for _, r := range b.allRooms() {
		list = append(list, r.overview())
	}
	slices.SortFunc(list, func(a, b MeshOverview) int {
		return cmp.Or(cmp.Compare(a.Slug, b.Slug), cmp.Compare(a.ID.String(), b.ID.String()))
	})
	return list
}

// Mesh describes a mesh, which need not be in memory.
func (b *Broker) Mesh(ctx context.Context, id wire.ID) (MeshOverview, error) {
	r, err := b.ofMesh(ctx, id)
	if err != nil {
		return MeshOverview{}, err
	}
	return r.overview(), nil
}

func (r *room) overview() MeshOverview {
	m := r.members.Mesh()
	o := MeshOverview{ID: r.id, Slug: m.Slug, Name: m.Name}
	for _, member := range r.members.Members() {
		if !member.Removed() {
			o.Members++
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	o.Presences, o.Connections = r.presences.Len(), len(r.guests)
	for _, p := range r.presences.All() {
		if p.Online {
			o.Connections++
		}
	}
	return o
}

// ErrNoMesh says that the storage has no such mesh.
var ErrNoMesh = errors.New("there is no mesh with this id or slug")

// ofMesh returns the room of a mesh, or ErrNoMesh.
func (b *Broker) ofMesh(ctx context.Context, id wire.ID) (*room, error) {
	r, err := b.room(ctx, id)
	if errors.Is(err, mesh.ErrMeshNotFound) {
		return nil, ErrNoMesh
	}
	return r, err
}

// Presences lists who is in a mesh, the oldest first.
func (b *Broker) Presences(ctx context.Context, id wire.ID) ([]PresenceOverview, error) {
	r, err := b.ofMesh(ctx, id)
	if err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]PresenceOverview, 0, r.presences.Len())
	for _, p := range r.presences.All() {
		list = append(list, PresenceOverview{
			Name: p.DisplayName, Role: p.Role, Status: string(p.Status), Online: p.Online, Key: p.Key(), Member: p.MemberKey,
			Host: p.Hostname, Connected: p.ConnectedAt, LastSeen: p.LastSeenAt,
		})
	}
	return list, nil
}

// Members lists the members of a mesh, removed ones included.
func (b *Broker) Members(ctx context.Context, id wire.ID) ([]MemberOverview, error) {
	r, err := b.ofMesh(ctx, id)
	if err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := []MemberOverview{}
	for _, m := range r.members.Members() {
		list = append(list, r.memberLocked(m))
	}
	return list, nil
}

func (r *room) memberLocked(m *mesh.Member) MemberOverview {
	o := MemberOverview{
		ID: m.ID, Name: m.DisplayName, Role: string(m.Role), State: "member", Key: m.Key, Joined: m.JoinedAt,
		Present: len(r.presences.ByMember(m.Key)),
	}
	switch {
	case m.Banned:
		o.State = "banned"
	case m.Removed():
		o.State = "removed"
	}
	return o
}

// Burden returns what waits in the queues of a mesh. It may take long.
func (b *Broker) Burden(ctx context.Context, id wire.ID) (queue.Burden, error) {
	if _, err := b.ofMesh(ctx, id); err != nil {
		return queue.Burden{}, err
	}
	return b.storage.Burden(ctx, id)
}

// AuditHead returns the newest entry's number and hash of a mesh's audit log.
func (b *Broker) AuditHead(ctx context.Context, id wire.ID) (audit.Head, error) {
	if _, err := b.ofMesh(ctx, id); err != nil {
		return audit.Head{}, err
	}
	return b.storage.AuditHead(ctx, id)
}

// AuditLogs lists the audit logs of all meshes.
func (b *Broker) AuditLogs(ctx context.Context) ([]audit.Log, error) {
	if err := b.reached(); err != nil {
		return nil, err
	}
	return b.storage.AuditLogs(ctx)
}

// Kick ends the sessions that a target means: a key, a name, or the start of a key. It
// returns their names. The audit log names the broker as the actor.
func (b *Broker) Kick(ctx context.Context, id wire.ID, target, reason string) ([]string, error) {
	r, err := b.ofMesh(ctx, id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.unlock()
	chosen, err := r.namedLocked(target)
	kicked := []string{}
	for _, p := range chosen {
		if p.Role != wire.RoleSession {
			continue
		}
		b.journal.Record(audit.NewEvent(r.id, time.Now(), audit.Broker, audit.PeerKickedDetail{Presence: p.ID, Member: p.MemberID, Key: p.Key()}))
		r.sendAwayLocked(p, endSentAway, wire.CloseKicked, wire.ReasonKicked, reason)
		r.resettleLocked(p)
		kicked = append(kicked, p.DisplayName)
	}
	r.saveLocked()
	return kicked, refusedOrder(err)
}

// RefusedError says why an order of the operator's can't be carried out.
type RefusedError struct {
	Code   wire.Code
	Reason string
}

func (e *RefusedError) Error() string { return e.Reason }

// refusedOrder makes a *RefusedError of the error of a request, or of the rules of meshes.
func refusedOrder(err error) error {
	var request *requestError
	var refusal *mesh.Refusal
	switch {
	case errors.As(err, &request):
		return &RefusedError{request.code, request.message}
	case errors.As(err, &refusal):
		return &RefusedError{refusal.Code, refusal.Message}
	}
	return err
}

// Member returns the member that a target means: a key, a name, or the start of a key, of the
// member or one of its sessions. It returns a *RefusedError if there is none, or several.
func (b *Broker) Member(ctx context.Context, id wire.ID, target string) (MemberOverview, error) {
	r, err := b.ofMesh(ctx, id)
	if err != nil {
		return MemberOverview{}, err
	}
	key, err := r.member(target, false)
	if err != nil {
		return MemberOverview{}, refusedOrder(err)
	}
	m, ok := r.members.Member(key)
	if !ok {
		return MemberOverview{}, &RefusedError{wire.CodeNotFound, "no such member"}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.memberLocked(m), nil
}

// Remove removes the member with this key, as the mesh's owner could. Its sessions end, and
// what waits for them is dropped. The audit log names the broker as the actor. It returns a
// *RefusedError for the owner, and for a key that no member has.
func (b *Broker) Remove(ctx context.Context, id wire.ID, key wire.Key) (MemberOverview, error) {
	r, err := b.ofMesh(ctx, id)
	if err != nil {
		return MemberOverview{}, err
	}
	owner := wire.ID{}
	for _, m := range r.members.Members() {
		if m.Role == mesh.Owner {
			owner = m.ID
		}
	}
	member, err := b.meshes.Remove(ctx, mesh.Actor{MeshID: id, MemberID: owner}, key, time.Now())
	if err != nil {
		return MemberOverview{}, refusedOrder(err)
	}
	b.journal.Record(audit.NewEvent(id, time.Now(), audit.Broker, audit.MemberRemovedDetail{Member: member.ID, Key: member.Key}))
	r.expel(member.ID, key, "")
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.memberLocked(member), nil
}

package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// maxPeers and the limits below keep the answer to peers within local.MaxBody.
	maxPeers       = 1000
	maxPeerText    = 500 // bytes of a summary or working directory
	maxPeerGroups  = 16
	maxAnswerBytes = local.MaxBody - 4096
)

func (d *daemon) servePeers(c *call) error {
	var in local.PeersQuery
	if err := c.decode(&in); err != nil {
		return err
	}
	lines, err := c.s.chosen(in.Mesh)
	if err != nil {
		return err
	}
	answer := local.Peers{Peers: []local.Peer{}}
	for _, l := range lines {
		rows, _, known := l.joined.fresh(c.ctx)
		if !known {
			return unavailable("the broker of %s does not answer", l.mesh.Slug)
		}
		list, err := l.describePeers(c.ctx, rows)
		if err != nil {
			return err
		}
		answer.Peers = append(answer.Peers, list...)
	}
	answer.Peers = answer.Peers[:min(len(answer.Peers), maxPeers)]
	for {
		b, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		if len(b) <= maxAnswerBytes {
			return c.write(b)
		}
		answer.Peers = answer.Peers[:len(answer.Peers)*3/4]
	}
}

// describePeers turns the roster into what a session is shown.
func (l *line) describePeers(ctx context.Context, rows []wire.PeerRow) ([]local.Peer, error) {
	trust, err := l.d.contacts.VerifyRows(ctx, l.name.mesh, rows, time.Now())
	if err != nil {
		return nil, err
	}
	list := make([]local.Peer, 0, len(rows))
	for i := range rows {
		row, t := &rows[i], &trust[i]
		p := local.Peer{
			Name: row.DisplayName, Member: t.Pinned, Key: row.Pubkey, Mesh: l.mesh.Slug, Role: row.PeerRole,
			Status: row.Status, Reason: row.StatusReason, Online: row.Online, Groups: row.Groups[:min(len(row.Groups), maxPeerGroups)],
			Cwd: cut(row.Cwd, maxPeerText), Hostname: row.Hostname, Verified: t.Verified, Compared: t.Compared, Doubt: t.Doubt,
			Own: row.MemberPubkey == l.mesh.Member.Public(), You: row.Pubkey == l.key.Public(), CannotRead: row.CannotRead,
		}
		if p.Member == "" {
			p.Member = l.joined.roster.member(row.MemberPubkey).DisplayName
		}
		if row.Summary != nil {
			p.Summary = cut(*row.Summary, maxPeerText)
		}
		list = append(list, p)
	}
	return list, nil
}

// chosen returns the lines of the session in the named mesh, or in all.
func (s *session) chosen(mesh string) ([]*line, error) {
	lines := s.liveLines()
	if len(lines) == 0 {
		return nil, unavailable("this session is in no mesh: see `claudemesh meshes`, and start it with `claudemesh launch --mesh`")
	}
	if mesh == "" {
		return lines, nil
	}
	meshes := meshesOf(lines)
	m, err := peer.FindMesh(meshes, mesh)
	if err != nil {
		return nil, notFound("%s", notInMesh(mesh, err, peer.MeshNames(meshes)))
	}
	return lines[slices.Index(meshes, m):][:1], nil
}

// meshesOf returns the meshes of lines.
func meshesOf(lines []*line) []*peer.Mesh {
	meshes := make([]*peer.Mesh, len(lines))
	for i, l := range lines {
		meshes[i] = &l.mesh
	}
	return meshes
}

// notInMesh says why no mesh was found under a name; names are those of the session's meshes.
func notInMesh(mesh string, err error, names []string) string {
	var choice *peer.MeshChoiceError
	if errors.As(err, &choice) && choice.Found > 1 {
		return fmt.Sprintf("this session is in several meshes called %q; say in which one, by its id: %s", mesh, joinNames(names))
	}
	return fmt.Sprintf("this session is not in a mesh called %q; it is in %s", mesh, joinNames(names))
}

// recipient is whom a message goes to.
type recipient struct {
	target         wire.Target
	name           string
	member         wire.Key // zero for groups, and when it is not known
	proven         wire.Key // member, if it vouches for the target
	verified       bool
	doubt          string
	known          bool // the roster knows the target
	status         wire.Status
	reason         string
	online, listed bool
	cannotRead     string // why none of those whom it is can read; "": one can
}

// resolve finds whom a name means. A whole key needs no broker.
func (l *line) resolve(ctx context.Context, to string) (recipient, error) {
	if peer.IsGroupTarget(to) {
		target, err := wire.ParseTarget(to)
		if err != nil {
			return recipient{}, invalid("%q is no target: %v", to, err)
		}
		return recipient{target: target, name: to}, nil
	}
	rows, members, known := l.joined.fresh(ctx)
	key, keyErr := wire.ParseKey(to)
	if !known && keyErr != nil {
		return recipient{}, unavailable("the broker of %s does not answer, so nobody knows who %q is; a whole key works", l.mesh.Slug, to)
	}
	if !known {
		return recipient{target: wire.Target{Kind: wire.TargetKey, Key: key}, name: key.Short()}, nil
	}
	found, err := peer.Resolve(to, l.mesh.Member.Public(), rows, members, time.Now())
	if err != nil {
		return recipient{}, err
	}
	if err := l.d.contacts.Check(ctx, l.name.mesh, to, found, members); err != nil {
		return recipient{}, err
	}
	r := recipient{
		target: wire.Target{Kind: wire.TargetKey, Key: found.Key}, name: found.Name, member: found.Member,
		proven: found.Proven, verified: found.Verified, doubt: found.Doubt,
	}
	r.look(rows)
	return r, nil
}

// look fills in how the recipient is doing, by the best of its presences.
func (r *recipient) look(rows []wire.PeerRow) {
	r.known, r.cannotRead = true, unable(rows, r.target.Key)
	for i := range rows {
		row := &rows[i]
		if row.Pubkey != r.target.Key && row.MemberPubkey != r.target.Key {
			continue
		}
		r.listed = true
		if row.Online && (!r.online || r.status != wire.Idle) {
			r.online, r.status, r.reason = true, row.Status, row.StatusReason
		}
	}
}

// unable says why the session with that key, or every session of the member with that
// key, can't read; "" when one can.
func unable(rows []wire.PeerRow, key wire.Key) (why string) {
	for i := range rows {
		row := &rows[i]
		if row.PeerRole != wire.RoleSession || row.Pubkey != key && row.MemberPubkey != key {
			continue
		}
		if row.CannotRead == "" {
			return ""
		}
		why = row.CannotRead
	}
	return why
}

// note says what the sender should know of the recipient.
func (r *recipient) note(p wire.Priority) string {
	if r.target.Kind != wire.TargetKey || !r.known {
		return ""
	}
	note := ""
	switch {
	case !r.online:
		note = "away: the message waits for their return"
	case r.cannotRead != "":
		note = CannotRead(r.name, r.cannotRead) + ": the message waits until that has changed"
	case p == wire.Now:
	case r.status == wire.DND:
		note = "does not want to be disturbed: the message waits until that ends"
	case r.status == wire.Working && r.reason != "":
		note = "busy (" + r.reason + "): the message waits until they are free"
	case r.status == wire.Working:
		note = "busy: the message waits until they are free"
	}
	if !r.verified && r.doubt != "" {
		note = joinNotes(note, "not verified: "+r.doubt)
	}
	return note
}

// CannotRead says that a peer can't read, and why; both are the peer's words.
func CannotRead(name, why string) string { return name + " can't read messages (" + why + ")" }

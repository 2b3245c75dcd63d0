package daemon

import (
	"cmp"
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
	// maxPeers and the limits below keep the answer within local.MaxBody.
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
	peers := []local.Peer{}
	for _, l := range lines {
		rows, _, known := l.joined.fresh(c.ctx)
		if !known {
			return unavailable("the broker of %s does not answer", l.mesh.Slug)
		}
		list, err := l.describePeers(c.ctx, rows)
		if err != nil {
			return err
		}
		peers = append(peers, list...)
	}
	b, err := encodePeers(peers)
	if err != nil {
		return err
	}
	return c.write(b)
}

// encodePeers encodes as many of the peers as fit into an answer, and the number of the others.
// If not all fit, those that are online come first, and the session that asks before them.
func encodePeers(peers []local.Peer) ([]byte, error) {
	answer := local.Peers{Peers: local.WithoutDaemons(peers)}
	all := len(answer.Peers)
	for n := min(all, maxPeers); ; n = n * 3 / 4 {
		if n < all {
			slices.SortStableFunc(answer.Peers, func(a, b local.Peer) int { return cmp.Compare(nearness(&b), nearness(&a)) })
		}
		answer.Peers, answer.Left = answer.Peers[:n], all-n
		b, err := json.Marshal(answer)
		if err != nil || len(b) <= maxAnswerBytes {
			return b, err
		}
	}
}

// nearness orders peers for encodePeers.
func nearness(p *local.Peer) int {
	switch {
	case p.You:
		return 2
	case p.Online:
		return 1
	}
	return 0
}

// describePeers converts roster rows to the form that the session gets.
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

// chosen returns the session's lines in the named mesh, or in all its meshes if mesh is "".
func (s *session) chosen(mesh string) ([]*line, error) {
	lines := s.liveLines()
	if len(lines) == 0 {
		return nil, unavailable("this session is not in a mesh; `claudemesh meshes` lists yours, and `claudemesh launch --mesh` starts a session in one")
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

// notInMesh explains why a name matches none of the session's meshes. names are the names of
// these meshes.
func notInMesh(mesh string, err error, names []string) string {
	var choice *peer.MeshChoiceError
	if errors.As(err, &choice) && choice.Found > 1 {
		return fmt.Sprintf("this session is in several meshes called %q; give the id of one: %s", mesh, joinNames(names))
	}
	return fmt.Sprintf("this session is not in a mesh called %q; it is in %s", mesh, joinNames(names))
}

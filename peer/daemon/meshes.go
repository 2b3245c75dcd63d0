package daemon

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
)

// joined is a mesh that this user has joined.
type joined struct {
	mesh    peer.Mesh
	control *line // the member's own connection
	roster  roster
}

// configState is the state of the file of joined meshes when the daemon last read it.
// daemon.changes guards it.
type configState struct {
	modTime time.Time
	size    int64
	err     string // of the last attempt, so that the daemon logs it once
}

// reloadConfigLocked reads the file of joined meshes if it has changed, and connects and
// disconnects accordingly. The caller holds changes.
func (d *daemon) reloadConfigLocked() {
	var now configState
	if info, err := os.Stat(d.o.Dir.Path(peer.ConfigName)); err == nil {
		now.modTime, now.size = info.ModTime(), info.Size()
	}
	if now.modTime.Equal(d.config.modTime) && now.size == d.config.size && d.config.err == "" {
		return
	}
	config, err := peer.LoadConfig(d.o.Dir)
	if err != nil {
		// Keep the connections: somebody may be editing the file.
		if err.Error() != d.config.err {
			d.log.Error("read config", "error", err)
		}
		d.config.err = err.Error()
		return
	}
	d.config = now
	wanted := make(map[string]peer.Mesh, len(config.Meshes))
	for _, m := range config.Meshes {
		wanted[m.MeshID] = m
	}
	for id, j := range d.joinedMeshes() {
		if m, ok := wanted[id]; ok && sameAccess(&m, &j.mesh) {
			delete(wanted, id)
			continue
		}
		d.mu.Lock()
		delete(d.meshes, id)
		d.mu.Unlock()
		j.control.hangUp()
	}
	for id, m := range wanted {
		d.log.Info("mesh joined", "mesh", m.Slug, "broker", m.BrokerURL)
		j := &joined{mesh: m, roster: newRoster()}
		j.control = d.newControlLine(m, j)
		d.mu.Lock()
		d.meshes[id] = j
		d.mu.Unlock()
		d.startLineLocked(j.control, nil)
	}
	for _, s := range d.all() {
		d.connectLocked(s, nil)
	}
}

// sameAccess reports whether connections made for one mesh configuration also suit the other.
func sameAccess(a, b *peer.Mesh) bool {
	return a.MemberID == b.MemberID && a.Slug == b.Slug && a.BrokerURL == b.BrokerURL &&
		a.Member.Public() == b.Member.Public() && a.Key.Equal(b.Key)
}

// joinedMeshes returns the joined meshes by id.
func (d *daemon) joinedMeshes() map[string]*joined {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]*joined, len(d.meshes))
	for id, j := range d.meshes {
		all[id] = j
	}
	return all
}

// joinedMesh returns a joined mesh, or nil if the user has left it.
func (d *daemon) joinedMesh(id string) *joined {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meshes[id]
}

// chooseMeshes returns the joined meshes with these names. Without names, it returns the only
// joined mesh. If the user has joined several, it returns none and a warning.
func (d *daemon) chooseMeshes(names []string) (ids, warnings []string, err error) {
	all := d.joinedMeshes()
	if len(names) == 0 {
		switch len(all) {
		case 0:
			return nil, []string{(&peer.MeshChoiceError{}).Error()}, nil
		case 1:
			for id := range all {
				return []string{id}, nil, nil
			}
		}
		return nil, []string{fmt.Sprintf("you have joined several meshes (%s): choose one for this session with CLAUDEMESH_MESH or `claudemesh launch --mesh`",
			strings.Join(peer.MeshNames(meshList(all)), ", "))}, nil
	}
	for _, name := range names {
		m, err := peer.FindMesh(meshList(all), name)
		if err != nil {
			return nil, nil, err
		}
		ids = append(ids, m.MeshID)
	}
	return ids, nil, nil
}

// meshesBefore returns the meshes that a returning session was in earlier. These are the meshes
// for which it has a key.
func (d *daemon) meshesBefore(session string) (ids []string) {
	all := d.joinedMeshes()
	if len(all) < 2 {
		return nil // nothing to choose from
	}
	stored, err := d.keys.List()
	if err != nil {
		d.log.Warn("list session keys", "error", err)
	}
	for id, j := range all {
		if slices.ContainsFunc(stored, func(s identity.StoredSession) bool {
			return s.SessionID == session && s.MeshSlug == j.mesh.Slug && s.Problem == ""
		}) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// meshList returns the meshes by slug and id.
func meshList(all map[string]*joined) []*peer.Mesh {
	list := make([]*peer.Mesh, 0, len(all))
	for _, j := range all {
		list = append(list, &j.mesh)
	}
	slices.SortFunc(list, func(a, b *peer.Mesh) int {
		return cmp.Or(strings.Compare(a.Slug, b.Slug), strings.Compare(a.MeshID, b.MeshID))
	})
	return list
}

// slug returns the slug of a mesh, or its id if the user has left the mesh.
func (d *daemon) slug(id string) string {
	if j := d.joinedMesh(id); j != nil {
		return j.mesh.Slug
	}
	return id
}

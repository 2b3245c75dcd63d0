package tests

import (
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestMeshesListsThoseWhereNobodyIs lists the meshes of a broker that has started anew, and of a cluster whose
// owner of the mesh was drained: the mesh is among them although no broker has it in memory.
func TestMeshesListsThoseWhereNobodyIs(t *testing.T) {
	t.Parallel()
	t.Run("single broker", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		m := newTeam(t, s)
		m.owner.daemon(t).leave()
		s.Stop()
		s.Start()
		if got := meshRow(t, s, m); got.str("slug") != m.slug || got.str("owner") != "" {
			t.Errorf("got %v", got)
		}
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		pg, a, b := startNodes(t)
		m := newTeam(t, a)
		m.owner.daemon(t).leave()
		owner, other := ownerOf(t, pg, m, a, b)
		if out, code := operate(a, pg, "drain", "--node", nodeOf(t, pg, owner).address); code != 0 {
			t.Fatalf("drain: exit %d\n%s", code, out)
		}
		for _, s := range []*server{owner, other} {
			var got frame
			await.Until(t, "the mesh has no owner", func() bool {
				got = meshRow(t, s, m)
				return got.str("owner") == "none"
			}, func() string { return got.String() })
			if got.str("slug") != m.slug {
				t.Errorf("got %v", got)
			}
		}
		m.at(other).owner.daemon(t).sync()
		await.Until(t, "the other node is the owner", func() bool {
			return meshRow(t, owner, m).str("owner") == nodeOf(t, pg, other).address
		})
	})
}

// TestMeshesNamesTheOwner checks that each node names the owner of a mesh that was just made, which its owner has
// not in memory yet.
func TestMeshesNamesTheOwner(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	m := newMesh(t, a)
	owner, _ := ownerOf(t, pg, m, a, b)
	want := nodeOf(t, pg, owner).address
	for _, s := range []*server{a, b} {
		if got := meshRow(t, s, m).str("owner"); got != want {
			t.Errorf("the owner is %q, want %q", got, want)
		}
	}
}

// meshRow returns the row of a mesh from the command meshes, or nil.
func meshRow(t *testing.T, s *server, m *team) frame {
	t.Helper()
	for _, row := range askRows(t, s, "meshes") {
		if row.str("id") == m.id {
			return row
		}
	}
	return nil
}

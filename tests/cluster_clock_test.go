package tests

import (
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// TestClusterClock sets the clock of a node wrong by an hour, in both directions. The node says so in its log, in
// the table of nodes and at /health/ready, and gives its mesh away; its clients go on. When the clock is right, all
// is as before.
func TestClusterClock(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	m := newTeam(t, a)
	wrong, right := ownerOf(t, pg, m, a, b)
	clock := harness.NewClock(t, wrong.PID())
	for jump, says := range map[time.Duration]string{time.Hour: "its clock is 1h0m0s ahead", -time.Hour: "its clock is 1h0m0s behind"} {
		clock.Set(t, jump)
		notReady(t, wrong, "cluster_clock")
		await.Until(t, "the log says so", func() bool {
			return strings.Contains(wrong.Log(), "the clock is wrong; this node serves no mesh") && strings.Contains(wrong.Log(), strings.TrimPrefix(says, "its clock is "))
		})
		awaitNodes(t, right, pg, func(row frame) bool {
			ahead, _ := row["clock_seconds_ahead"].(float64)
			return row.str("address") != nodeOf(t, pg, wrong).address || ahead/jump.Seconds() > 0.99
		})
		if out, _ := operate(right, pg, "nodes"); !strings.Contains(out, says) {
			t.Errorf("nodes:\n%s", out)
		}
		await.Until(t, "the node has given its mesh away", func() bool { return nodeOf(t, pg, wrong).meshes == 0 })
		for _, edge := range []*server{wrong, right} {
			m.at(edge).owner.daemon(t).sync()
		}
		if n := nodeOf(t, pg, right).meshes; n != 1 {
			t.Errorf("the other node has %d meshes", n)
		}
		clock.Set(t, 0)
		wrong.AwaitReady()
		awaitNodes(t, right, pg, func(row frame) bool { return row["clock_seconds_ahead"] == 0.0 })
	}
}

// awaitNodes waits until all rows of the table of nodes are as they should be.
func awaitNodes(t *testing.T, s *server, pg *pgtest.Server, good func(row frame) bool) {
	t.Helper()
	var out string
	await.Until(t, "the table of nodes is as it should be", func() bool {
		text, code := operate(s, pg, "nodes", "--json")
		out = text
		for _, row := range jsonRows(t, text, code) {
			if !good(row) {
				return false
			}
		}
		return true
	}, func() string { return out })
}

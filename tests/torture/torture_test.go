package torture

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// scenario is one kind of fault under load.
type scenario struct {
	name     string // with the database at its end, after a slash, if it matters
	database string
	run      func(w *world)
}

// The databases.
const (
	onSQLite   = "sqlite"
	onPostgres = "postgres" // shared by scenarios, which may do what they like to their part of it
	ownServer  = "own"      // Postgres as in production, for one scenario
)

var scenarios = []scenario{
	{"kill-broker/sqlite", onSQLite, killBroker},
	{"kill-broker/postgres", onPostgres, killBroker},
	{"kill-postgres", ownServer, killPostgres},
	{"failover", ownServer, failOver},
	{"kill-daemon", onSQLite, killDaemons},
	{"kill-all", ownServer, killAll},

	{"freeze-postgres", ownServer, freezePostgres},
	{"refuse-connections", ownServer, refuseConnections},
	{"full-disk", onSQLite, fillDisk},
	{"lock/sqlite", onSQLite, lockSQLite},
	{"lock/postgres", onPostgres, lockPostgres},
	{"deadlock", ownServer, deadlock},

	{"hand-over", onPostgres, handOver},
	{"standby", onPostgres, failToStandby},
	{"freeze-broker", onPostgres, freezeActive},
	{"freeze-broker-shortly", onPostgres, freezeShortly},

	{"reload", onSQLite, reload},
	{"upgrade/sqlite", onSQLite, upgrade},
	{"upgrade/postgres", onPostgres, upgrade},

	{"peer-never-reads", onSQLite, neverReads},
	{"peer-reads-a-byte-a-second", onSQLite, readsSlowly},
	{"peer-never-acknowledges", onSQLite, neverAcknowledges},
	{"peer-acknowledges-others", onSQLite, acknowledgesOthers},

	{"network-slow-and-lossy", onSQLite, slowNetwork},
	{"network-cut-one-way", onSQLite, cutNetwork},
	{"network-resets", onPostgres, resetNetwork},

	{"clock-of-broker", onSQLite, moveBrokersClock},
	{"clock-of-peer", onSQLite, movePeersClocks},

	{"limit-of-sessions", onSQLite, limitOfSessions},
	{"limit-of-mesh", onSQLite, limitOfMesh},
	{"limit-of-queue", ownServer, limitOfQueue},
}

// chosen reports whether the -fault flag means the scenario.
func (s *scenario) chosen() bool {
	fault, _, _ := strings.Cut(s.name, "/")
	return *onlyFault == "" || *onlyFault == s.name || *onlyFault == fault
}

// TestTorture runs the scenarios: each once, or round after round for as long as the
// -for flag says.
func TestTorture(t *testing.T) {
	var list []scenario
	for _, s := range scenarios {
		if s.chosen() {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		if slices.ContainsFunc(abuses, func(a abuse) bool { return a.chosen() }) {
			t.Skip("that is no fault, but an abuse")
		}
		t.Fatalf("there is no fault %q", *onlyFault)
	}
	end := time.Now().Add(*runFor)
	if *runFor == 0 {
		runRound(t, list, end)
		return
	}
	for round := 1; time.Now().Before(end); round++ {
		t.Run(fmt.Sprintf("round-%d", round), func(t *testing.T) { runRound(t, list, end) })
	}
}

// runRound runs scenarios side by side. In a long run, those whose turn would come after
// its end are left out.
func runRound(t *testing.T, list []scenario, end time.Time) {
	for _, s := range list {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if *runFor > 0 && !time.Now().Before(end) {
				return
			}
			w := newWorld(t, s)
			s.run(w)
			w.close()
		})
	}
}

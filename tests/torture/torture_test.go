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
	name     string // the fault; if there are several with it, a slash and what differs: the database, for example
	database string
	run      func(w *world)
}

// The databases.
const (
	onSQLite   = "sqlite"
	onPostgres = "postgres" // a database of its own on a shared Postgres
	ownServer  = "own"      // its own Postgres, configured like in production
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

	{"cluster/kill-owner", onPostgres, inCluster((*nodes).killOwner)},
	{"cluster/freeze-owner", onPostgres, inCluster((*nodes).freezeOwner)},
	{"cluster/freeze-owner-shortly", onPostgres, inCluster((*nodes).freezeOwnerShortly)},
	{"cluster/clock", onPostgres, inCluster((*nodes).moveOwnersClock)},
	{"cluster/drain", onPostgres, inCluster((*nodes).drainOwner)},
	{"cluster/upgrade", onPostgres, inCluster((*nodes).upgrade)},
	{"cluster/cut", onPostgres, inCluster((*nodes).blockNode)},
	{"cluster/failover", ownServer, inCluster((*nodes).failOver)},

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

// chosen reports whether the -fault flag selects the scenario.
func (s *scenario) chosen() bool {
	fault, _, _ := strings.Cut(s.name, "/")
	return *onlyFault == "" || *onlyFault == s.name || *onlyFault == fault
}

// TestTorture runs the scenarios: each once, or in rounds for the time of the -for flag.
func TestTorture(t *testing.T) {
	var list []scenario
	for _, s := range scenarios {
		if s.chosen() {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		if inNamespaces() {
			t.Skip("the -fault flag selects faults in namespaces")
		}
		if slices.ContainsFunc(abuses, func(a abuse) bool { return a.chosen() }) {
			t.Skip("the -fault flag selects an abuse")
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

// runRound runs scenarios in parallel. In a long run, it skips scenarios that would start after
// the end of the run.
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

package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/audit"
)

// These are the steps of schedules with several nodes.
const (
	nTell      kind = 100 + iota // a guest sends some messages to another
	nCut                         // the line of a guest is cut
	nHandOver                    // the owner of a mesh hands it over
	nKill                        // a node dies, and another one joins
	nDrain                       // a node hands over all meshes and leaves, and another one joins
	nCutOff                      // a node can't reach the database for a while
	nPartition                   // two nodes can't reach each other for a while
	nSteal                       // the database says that a mesh belongs to another node, without a word
	nTurn                        // the storage's weather changes
	nMove                        // an operator moves a mesh to another node
	nMark                        // an operator asks a node to drain, or takes that back
	nHalt                        // the process of a node stands still for a while
	nJump                        // the clock of the database is set
	nClock                       // the clock of a node is set wrong, or right
	nWait
)

var clusterKindNames = [...]string{"tell", "cut", "handOver", "kill", "drain", "cutOff", "partition", "steal", "turn", "move", "mark", "halt", "jump", "clock", "wait"}

var clusterOdds = map[kind]int{nTell: 30, nCut: 10, nHandOver: 6, nKill: 2, nDrain: 1, nCutOff: 5, nPartition: 2, nSteal: 2, nTurn: 5, nMove: 5, nMark: 2, nHalt: 5, nJump: 2, nClock: 2, nWait: 8}

func makeClusterSchedule(seed uint64, odds map[kind]int) schedule {
	rnd := rand.New(rand.NewPCG(seed, 0xc1a5))
	var urn []kind
	for k := nTell; k <= nWait; k++ {
		for range odds[k] {
			urn = append(urn, k)
		}
	}
	s := schedule{seed: seed}
	for i := range 30 + rnd.IntN(40) {
		pause := time.Duration(rnd.IntN(400)) * time.Millisecond
		k := urn[rnd.IntN(len(urn))]
		if k == nWait {
			pause = time.Duration(1+rnd.IntN(6)) * time.Second
		}
		s.steps = append(s.steps, step{index: i, kind: k, peer: rnd.IntN(1000), arg: rnd.IntN(1000), mode: rnd.IntN(12), pause: pause})
	}
	return s
}

// calmTime is how long the nodes may take to deliver everything once the faults have ended.
const calmTime = time.Minute

func runCrowd(s schedule, broken sabotage) []string {
	w := newCrowd(s.seed, broken)
	w.mu.Lock()
	for range 3 {
		w.openLocked()
	}
	for _, g := range w.guests {
		w.all.Go(g.live)
	}
	w.mu.Unlock()
	time.Sleep(5 * time.Second) // from now on, all keys are known
	for _, st := range s.steps {
		w.do(st)
		if w.isBroken() {
			break
		}
	}
	w.server.turn(fair)
	w.unmark()
	time.Sleep(calmTime)
	w.mu.Lock()
	w.now = "the end"
	if len(w.broken) == 0 {
		w.checkLocked()
	}
	w.over = true
	w.cutLocked(func(*guest) bool { return true })
	sites := slices.Clone(w.sites)
	w.mu.Unlock()
	for _, at := range sites {
		w.replace(at, func() {
			_ = at.broker.Stop(context.Background())
			at.session.die(false)
		})
	}
	w.all.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// unmark withdraws what nodes were asked to do or were to suffer, and sets their clocks.
func (w *crowd) unmark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.server.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range w.sites {
		if n := d.registry.nodes[s.id]; n != nil && s.marked {
			n.Draining = false
		}
		s.session.seat.setClock(0)
		s.session.halt.when("", nil)
	}
}

func (w *crowd) isBroken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.broken) > 0
}

// checkLocked checks that nothing is left to do.
func (w *crowd) checkLocked() {
	for _, g := range w.guests {
		if !g.here {
			w.violateLocked("11: %s can't come back", g.name)
		}
		if g.acked < len(g.sent) {
			w.violateLocked("11: %s was sent %d times and has no ack", g.sent[g.acked].id, g.asked)
		}
		for _, l := range g.sent[:g.acked] {
			if l.to.got[l.id] == 0 {
				w.violateLocked("1: %s was acknowledged, but %s did not receive it", l.id, l.to.name)
			}
		}
	}
	for id := range w.server.meshes {
		if _, err := audit.VerifyMesh(context.Background(), w.server.disk, id); err != nil {
			w.violateLocked("9: %v", err)
		}
	}
}

func tryCrowd(t *testing.T, s schedule, broken sabotage) (found []string) {
	t.Run(fmt.Sprint("seed ", s.seed), func(t *testing.T) {
		defer func() {
			if p := recover(); p != nil {
				found = append(found, fmt.Sprint("promise 11: ", p))
			}
		}()
		synctest.Test(t, func(*testing.T) { found = runCrowd(s, broken) })
	})
	return found
}

// TestCluster runs random schedules with three nodes that share a database, and shrinks
// the first that breaks a promise.
func TestCluster(t *testing.T) {
	t.Parallel()
	n := *schedules / 4
	if testing.Short() && !isSet("schedules") {
		n /= 5
	}
	for i := range uint64(max(n, 1)) {
		s := makeClusterSchedule(*firstSeed+i, clusterOdds)
		if *keep != "" {
			s = s.only(parseIndexes(t, *keep))
		}
		if broken := tryCrowd(t, s, sabotage{}); broken != nil {
			least, found := shrinkCrowd(t, s, sabotage{}, broken)
			t.Fatalf("seed %d breaks:\n  %s\nthe smallest schedule that breaks it, with -seed %d -schedules 1 -steps %s:\n%s",
				s.seed, strings.Join(found, "\n  "), s.seed, least.indexes(), least.steps)
		}
	}
}

// shrinkCrowd shrinks a schedule that breaks promises, and returns which ones the smallest one
// breaks.
func shrinkCrowd(t *testing.T, s schedule, without sabotage, broken []string) (schedule, []string) {
	least := shrink(s, func(s schedule) bool {
		for range again {
			if b := tryCrowd(t, s, without); b != nil && promise(b) == promise(broken) {
				broken = b
				return true
			}
		}
		return false
	})
	return least, broken
}

// TestClusterWithoutSafeguards checks that the simulation finds broken promises in a cluster
// without its safeguards, also if nothing but certain faults happen. Then the smallest schedule that
// breaks a promise still has them.
func TestClusterWithoutSafeguards(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		without sabotage
		faults  []kind // nil: all
	}{
		"fence":                  {sabotage{noFence: true}, nil},
		"fence, with halts":      {sabotage{noFence: true}, []kind{nHalt}},
		"suspension":             {sabotage{noSuspension: true}, nil},
		"suspension, with halts": {sabotage{noSuspension: true}, []kind{nHalt}},
		"pulse, with jumps":      {sabotage{noPulse: true}, []kind{nJump, nKill}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			odds := clusterOdds
			if test.faults != nil {
				odds = map[kind]int{nTell: 30, nCut: 10, nWait: 8}
			}
			for _, fault := range test.faults {
				odds[fault] = 8
			}
			for seed := range uint64(1000) {
				s := makeClusterSchedule(seed, odds)
				found := tryCrowd(t, s, test.without)
				if found == nil {
					continue
				}
				t.Logf("seed %d: %s", seed, found[0])
				if test.faults != nil && !testing.Short() && !raceDetector {
					least, found := shrinkCrowd(t, s, test.without, found)
					for _, fault := range test.faults {
						if !slices.ContainsFunc(least.steps, func(st step) bool { return st.kind == fault }) {
							t.Errorf("the smallest schedule has no step %s", fault)
						}
					}
					t.Logf("the smallest schedule has %d steps of %d: %s\n%s", len(least.steps), len(s.steps), found[0], least.steps)
				}
				return
			}
			t.Error("no schedule breaks a promise")
		})
	}
}

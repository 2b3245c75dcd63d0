package simulation

import (
	"flag"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

var (
	schedules = flag.Int("schedules", perRun, "number of random schedules to run; with -short, the default is a fifth")
	firstSeed = flag.Uint64("seed", 1, "seed of the first schedule")
	keep      = flag.String("steps", "", "comma-separated indexes of the steps to keep; empty means all")
)

// TestSimulation runs random schedules, and shrinks the first that breaks a promise.
func TestSimulation(t *testing.T) {
	t.Parallel()
	n := *schedules
	if testing.Short() && !isSet("schedules") {
		n /= 5
	}
	var next atomic.Uint64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for !failed.Load() {
				i := next.Add(1) - 1
				if i >= uint64(n) {
					return
				}
				s := makeSchedule(*firstSeed + i)
				if *keep != "" {
					s = s.only(parseIndexes(t, *keep))
				}
				if broken := try(t, s); broken != nil && failed.CompareAndSwap(false, true) {
					report(t, s, broken)
				}
			}
		})
	}
	workers.Wait()
}

// try runs a schedule in its own bubble of synctest. A goroutine that never ends counts as a broken
// promise.
func try(t *testing.T, s schedule) (broken []string) {
	t.Run(fmt.Sprint("seed ", s.seed), func(t *testing.T) {
		defer func() {
			if p := recover(); p != nil {
				broken = append(broken, fmt.Sprint("promise 11: ", p))
			}
		}()
		synctest.Test(t, func(*testing.T) { broken = run(s) })
	})
	return broken
}

// again is the maximum number of runs of a schedule until it breaks a promise. A run need not
// repeat the last one, because Go orders the goroutines within one moment at will.
const again = 4

// promise returns the number of the first broken promise.
func promise(broken []string) string {
	_, rest, _ := strings.Cut(broken[0], "promise ")
	number, _, _ := strings.Cut(rest, ":")
	return number
}

func report(t *testing.T, s schedule, broken []string) {
	t.Errorf("seed %d breaks:\n  %s\nsteps:\n%s", s.seed, strings.Join(broken, "\n  "), s)
	least := shrink(s, func(s schedule) bool {
		for range again {
			if b := try(t, s); b != nil && promise(b) == promise(broken) {
				broken = b
				return true
			}
		}
		return false
	})
	t.Errorf("the smallest schedule that breaks it, with -seed %d -schedules 1 -steps %s:\n  %s\nsteps:\n%s",
		s.seed, least.indexes(), strings.Join(broken, "\n  "), least)
}

func parseIndexes(t *testing.T, list string) []int {
	var indexes []int
	for text := range strings.SplitSeq(list, ",") {
		i, err := strconv.Atoi(text)
		if err != nil {
			t.Errorf("-steps: %v", err)
		}
		indexes = append(indexes, i)
	}
	return indexes
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

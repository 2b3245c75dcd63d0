package attention

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
)

// TestPathThatLeadsNowhereGivesWay checks that a working path makes an idle session start a turn. A
// path that does not work gives way to the next, down to the hooks, and is tried again after a
// while.
func TestPathThatLeadsNowhereGivesWay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Working(false)
		waiter := r.listen(local.PathWaiter, 1)
		monitor := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"))
		after(burstPause)
		monitor.wantPointers(t, 1)
		r.wantHook(Turn, "")
		after(reactionTime)
		waiter.wantPointers(t, 1)
		waiter.wantEnd(t, ErrReleased)
		if r.Path() != local.PathHooks {
			t.Errorf("path %s", r.Path())
		}
		after(reactionTime)
		r.wantHook(Turn, "1")
		r.wantHook(Turn, "")
		r.wantAnnounced(1, 1, 1)

		// The path is tried again with the next message.
		after(firstDoubt)
		if r.Path() != local.PathMonitor {
			t.Errorf("path %s", r.Path())
		}
		r.Arrive(msg(2, "bob"))
		after(burstPause)
		monitor.wantPointers(t, 2)
		r.Working(true) // it works again
		r.Working(false)
		after(reactionTime)
		r.wantHook(Turn, "")
		r.Arrive(msg(3, "bob"))
		after(burstPause)
		monitor.wantPointers(t, 3)
	})
}

// TestOnlyPathIsTriedAgain checks that without another path, the waiting messages are
// announced again when the path is tried again, at growing intervals.
func TestOnlyPathIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Working(false)
		monitor := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"))
		after(burstPause + reactionTime)
		monitor.wantPointers(t, 1)
		after(firstDoubt + reactionTime)
		monitor.wantPointers(t, 2)
		after(firstDoubt + reactionTime)
		monitor.wantPointers(t, 2)
		after(firstDoubt)
		monitor.wantPointers(t, 3)
		after(24 * time.Hour)
		r.mustHave(monitor, 10, 60)
	})
}

func (r *rig) mustHave(l *listener, least, most int) {
	r.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.got); n < least || n > most {
		r.t.Errorf("%d pointers, want %d to %d", n, least, most)
	}
}

// TestReaction checks the events that count as a reaction.
func TestReaction(t *testing.T) {
	for name, react := range map[string]func(*rig){
		"a turn begins":    func(r *rig) { r.Working(true); r.Working(false) },
		"it is read":       func(r *rig) { r.Checked(1) },
		"nobody watches":   func(*rig) {},
		"a turn had begun": func(*rig) {},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				if name != "nobody watches" {
					r.Working(name == "a turn had begun")
				}
				monitor := r.listen(local.PathMonitor, 1)
				waiter := r.listen(local.PathWaiter, 1)
				r.Arrive(msg(1, "bob"), msg(2, "bob"))
				after(burstPause)
				monitor.wantPointers(t, 1)
				react(r)
				after(time.Hour)
				monitor.wantPointers(t, 1)
				waiter.wantPointers(t, 0)
				if r.Path() != local.PathMonitor {
					t.Errorf("path %s", r.Path())
				}
			})
		})
	}
}

// TestPromptEndsDoubt checks that the user's next prompt gives every path another chance.
func TestPromptEndsDoubt(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Working(false)
		monitor := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"))
		after(burstPause + reactionTime)
		r.wantHook(HumanPrompt, "1")
		r.Arrive(msg(2, "bob"))
		after(burstPause)
		monitor.wantPointers(t, 2)
	})
}

// TestTurnOverTellsOnceMore checks that messages that were announced during a turn but not
// read are announced once more when the turn is over.
func TestTurnOverTellsOnceMore(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Working(true)
		monitor := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"), msg(2, "bob"))
		after(burstPause)
		r.Checked(2)
		for range 3 {
			r.Working(false)
			r.TurnOver()
			after(burstPause)
			monitor.wantPointers(t, 2)
			r.Working(true)
		}
		r.Retell() // with the user's prompt
		r.wantHook(HumanPrompt, "1")
		r.wantAnnounced(1, 2, 1, 1)
	})
}

// TestHush checks that a hushed message wakes nobody. The next prompt announces it, and so
// does a pointer that another message causes.
func TestHush(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		monitor := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"))
		r.Hush(1)
		r.Hush(7) // not there
		after(time.Hour)
		monitor.wantPointers(t, 0)
		r.wantHook(Turn, "")
		r.Arrive(msg(2, "bob"))
		after(burstPause)
		if got := monitor.wantPointers(t, 1); got[0].text[:1] != "2" {
			t.Errorf("got %q", got[0].text)
		}
		r.Arrive(msg(3, "bob"))
		r.Hush(3)
		synctest.Wait()
		r.wantHook(HumanPrompt, "3")
	})
}

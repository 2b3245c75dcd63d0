package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// kind is what happens in a step.
type kind int

const (
	connect      kind = iota // a hello on a new connection, whatever connections there are
	connectCut               // the same, cut after arg bytes in one direction
	connectWrong             // a hello that must be refused, in one of several ways
	dialOnly                 // a connection that says nothing
	hangUp                   // a polite end
	cut                      // the line is cut, with or without what is under way
	cutAfter                 // the line will be cut after arg more bytes in one direction
	vanish                   // the peer is gone, and the broker is not told
	freeze                   // the peer stops reading
	thaw                     // and goes on
	mooded                   // how the peer acknowledges from now on
	ackAll                   // it acknowledges everything it has been pushed
	ackForeign               // it acknowledges what was pushed to others
	send                     // messages to a target
	flood                    // more than the buffers hold, to one session
	surge                    // more than the storage takes at once, to several targets
	resend                   // sends again what it has sent before
	setStatus                // by hand or as a hook, over the connection
	hook                     // over HTTP
	group                    // joins or leaves a group
	visible                  // hides or shows itself
	roster                   // asks who is here
	track                    // asks how far a message came
	junk                     // sends what can't be served
	succeed                  // goes on, from its next hello, in the place of another session
	turn                     // the storage's weather turns
	crash                    // the broker dies and starts again, now and then with another time on its clock
	restart                  // the broker is stopped in peace and starts again
	usurp                    // the broker is cut off from the storage, and another one takes over
	wait                     // nothing
)

var kindNames = [...]string{"connect", "connectCut", "connectWrong", "dialOnly", "hangUp", "cut", "cutAfter", "vanish", "freeze",
	"thaw", "mooded", "ackAll", "ackForeign", "send", "flood", "surge", "resend", "setStatus", "hook", "group", "visible", "roster", "track",
	"junk", "succeed", "turn", "crash", "restart", "usurp", "wait"}

func (k kind) String() string {
	if k >= nTell {
		return clusterKindNames[k-nTell]
	}
	return kindNames[k]
}

// odds are how often each kind comes up, relative to the others.
var odds = map[kind]int{
	connect: 14, connectCut: 4, connectWrong: 2, dialOnly: 1, hangUp: 3, cut: 5, cutAfter: 4, vanish: 2, freeze: 3, thaw: 3, mooded: 3,
	ackAll: 4, ackForeign: 2, send: 34, flood: 1, surge: 3, resend: 4, setStatus: 6, hook: 4, group: 3, visible: 2, roster: 5, track: 2, junk: 2,
	succeed: 2, turn: 6, crash: 3, restart: 2, usurp: 2, wait: 6,
}

// step is one thing that happens. What its numbers mean depends on the kind; all of
// them are taken modulo what there is, so that any step makes sense after any other.
type step struct {
	index int
	kind  kind
	peer  int
	arg   int
	mode  int
	pause time.Duration // negative: the next step follows at once; 0: at rest; else so much later
}

func (s step) String() string { return s.describe(fmt.Sprint("peer ", s.peer)) }

func (s step) describe(peer string) string {
	after := "at once"
	switch {
	case s.pause == 0:
		after = "rest"
	case s.pause > 0:
		after = s.pause.String()
	}
	return fmt.Sprintf("%3d  %-12s %-5s arg %-4d mode %-2d, then %s", s.index, s.kind, peer, s.arg, s.mode, after)
}

// schedule is all that is drawn from a seed.
type schedule struct {
	seed  uint64
	steps []step
}

// makeSchedule draws a schedule.
func makeSchedule(seed uint64) schedule {
	rnd := rand.New(rand.NewPCG(seed, 0x5eed))
	var urn []kind
	for k := connect; k <= wait; k++ {
		for range odds[k] {
			urn = append(urn, k)
		}
	}
	s := schedule{seed: seed}
	for i := range 40 + rnd.IntN(60) {
		k := urn[rnd.IntN(len(urn))]
		if i < 4 {
			k = connect
		}
		s.steps = append(s.steps, step{
			index: i, kind: k, peer: rnd.IntN(1000), arg: rnd.IntN(1000), mode: rnd.IntN(12), pause: drawPause(rnd, k),
		})
	}
	return s
}

func drawPause(rnd *rand.Rand, k kind) time.Duration {
	switch n := rnd.IntN(100); {
	case k == wait && n < 10:
		return presenceLease + time.Duration(rnd.IntN(30))*time.Second
	case k == wait && n < 12:
		return retention + time.Minute
	case k == wait:
		return time.Duration(1+rnd.IntN(12)) * time.Second
	case n < 40:
		return -1
	case n < 75:
		return 0
	case n < 90:
		return time.Duration(1+rnd.IntN(50)) * time.Millisecond
	case n < 99:
		return time.Duration(100+rnd.IntN(4000)) * time.Millisecond
	}
	return time.Duration(10+rnd.IntN(40)) * time.Second
}

// only keeps the steps with the given indexes.
func (s schedule) only(indexes []int) schedule {
	kept := schedule{seed: s.seed}
	for _, st := range s.steps {
		if slices.Contains(indexes, st.index) {
			kept.steps = append(kept.steps, st)
		}
	}
	return kept
}

// indexes lists the steps in the form of the flag -steps.
func (s schedule) indexes() string {
	var list []string
	for _, st := range s.steps {
		list = append(list, fmt.Sprint(st.index))
	}
	return strings.Join(list, ",")
}

func (s schedule) String() string {
	var b strings.Builder
	cast := newWorld(s.seed).cast
	for _, st := range s.steps {
		fmt.Fprintf(&b, "  %s\n", st.describe(cast[st.peer%len(cast)].name))
	}
	return b.String()
}

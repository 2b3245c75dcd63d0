package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// kind is the kind of a step.
type kind int

const (
	connect      kind = iota // a hello on a new connection, even if the peer has others
	connectCut               // the same; the line is cut after arg bytes in one direction
	connectWrong             // a hello that the broker must refuse, wrong in one of several ways
	dialOnly                 // a connection that says nothing
	hangUp                   // the client closes the connection
	cut                      // the line is cut, with or without losing what is under way
	cutAfter                 // the line will be cut after arg more bytes in one direction
	vanish                   // the peer is gone, and the broker does not notice
	freeze                   // the peer stops reading
	thaw                     // the peer reads again
	mooded                   // the peer gets another mood
	ackAll                   // the peer acknowledges all messages pushed to it
	ackForeign               // the peer acknowledges messages pushed to others
	send                     // messages to a target
	flood                    // more messages than the buffers hold, to one session
	surge                    // more messages than the storage takes at once, to several targets
	resend                   // the peer resends its messages
	setStatus                // a status set by hand or by a hook, over the connection
	hook                     // a status over HTTP
	group                    // the peer joins or leaves a group
	visible                  // the peer hides or shows itself
	roster                   // the peer asks for the roster
	track                    // the peer asks for the status of a message
	junk                     // the peer sends frames that can't be served
	succeed                  // the peer's later hellos say that it succeeds another session
	turn                     // the storage's weather changes
	crash                    // the broker dies and starts again, sometimes with a clock that was set
	restart                  // the broker stops in an orderly way and starts again
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

// odds are the relative frequencies of the kinds.
var odds = map[kind]int{
	connect: 14, connectCut: 4, connectWrong: 2, dialOnly: 1, hangUp: 3, cut: 5, cutAfter: 4, vanish: 2, freeze: 3, thaw: 3, mooded: 3,
	ackAll: 4, ackForeign: 2, send: 34, flood: 1, surge: 3, resend: 4, setStatus: 6, hook: 4, group: 3, visible: 2, roster: 5, track: 2, junk: 2,
	succeed: 2, turn: 6, crash: 3, restart: 2, usurp: 2, wait: 6,
}

// step is an action in a schedule. The meaning of its numbers depends on the kind. Each number is
// taken modulo the number of choices, so that any step can follow any other.
type step struct {
	index int
	kind  kind
	peer  int
	arg   int
	mode  int
	pause time.Duration // before the next step; negative: none; 0: until everything is at rest
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

// schedule is everything that is drawn from a seed.
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

// only returns the schedule with only the steps of the given indexes.
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

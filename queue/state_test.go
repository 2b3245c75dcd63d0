package queue

import (
	"fmt"
	"testing"
)

// Check returns what is wrong with the mailboxes in memory, as their states have it.
func (q *Queue) Check() error {
	for i := range q.shards {
		s := &q.shards[i]
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, b := range s.boxes {
			if err := b.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *mailbox) check() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	airborne, bytes := 0, 0
	for _, f := range b.window.flights {
		if !f.overdue {
			airborne++
			bytes += f.size
		}
	}
	w, state := &b.window, b.state
	for wrong, is := range map[string]bool{
		"it is in the queue's index":                   state == dropped,
		"it has an outlet, or none":                    state.attached() != (b.out != nil),
		"its outlet has not caught up":                 b.starting && (state == upToDate || !state.attached()),
		"pushes of nobody's fill the window":           !state.attached() && w.airborne > 0,
		"the window's counts are wrong":                w.airborne != airborne || w.bytes != bytes,
		"the window is too full":                       w.airborne > windowCount || w.bytes > windowBytes && w.airborne > 1,
		"acknowledgements wait for a page":             len(b.settling.late) > 0 && state != reading && state != abandoned,
		"what is not committed is not in the order":    !b.uncommitted.ascending(),
		"what may be pushed and is not stored is lost": state == upToDate && b.gate == open && b.waitsForCommitLocked(),
	} {
		if is {
			return fmt.Errorf("mailbox %s is %s: %s", b.addr.Name, state, wrong)
		}
	}
	return nil
}

func (s seqs) ascending() bool {
	for i := range s {
		if i > 0 && s[i-1] >= s[i] {
			return false
		}
	}
	return true
}

// waitsForCommitLocked reports whether the outlet, which opens everything, has not been
// offered something.
func (b *mailbox) waitsForCommitLocked() bool {
	return len(b.uncommitted) > 0 && b.out.Opens(&Message{TargetSpec: "*", BodyVersion: 2})
}

// A mailbox goes through the states of the package comment, and through no others.
func TestIllegalTransitionPanics(t *testing.T) {
	t.Parallel()
	legal := 0
	for from := range mailboxState(len(nextStates)) {
		for to := range mailboxState(len(nextStates)) {
			if transition(from, to) {
				legal++
			}
		}
	}
	if legal != 11 {
		t.Errorf("%d transitions are legal, and the package comment has 11", legal)
	}
	for _, illegal := range [][2]mailboxState{
		{away, upToDate}, {away, reading}, {upToDate, dropped}, {reading, away}, {behind, upToDate}, {abandoned, dropped}, {dropped, away},
	} {
		if transition(illegal[0], illegal[1]) {
			t.Errorf("from %s to %s", illegal[0], illegal[1])
		}
	}
}

// transition reports whether a mailbox can go from one state to another.
func transition(from, to mailboxState) (legal bool) {
	b := newMailbox(Mailbox{Name: "s/a"}, nil)
	b.state = from
	defer func() { legal = recover() == nil }()
	b.becomeLocked(to)
	return true
}

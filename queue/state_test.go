package queue

import (
	"fmt"
	"testing"
)

// Check returns an error if a mailbox in memory contradicts its state.
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
		"it is in the queue's index":                state == dropped,
		"its outlet does not match its state":       state.attached() != (b.out != nil),
		"its outlet has not caught up":              b.starting && (state == upToDate || !state.attached()),
		"it has pushes in flight but no outlet":     !state.attached() && w.airborne > 0,
		"the window's counts are wrong":             w.airborne != airborne || w.bytes != bytes,
		"the window is too full":                    w.airborne > windowCount || w.bytes > windowBytes && w.airborne > 1,
		"acknowledgements wait for a page":          len(b.settling.late) > 0 && state != reading && state != abandoned,
		"its uncommitted messages are out of order": !b.uncommitted.ascending(),
		"an uncommitted message was not pushed":     state == upToDate && b.gate == open && b.waitsForCommitLocked(),
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

// waitsForCommitLocked reports whether an uncommitted message waits although the outlet
// can open any message.
func (b *mailbox) waitsForCommitLocked() bool {
	return len(b.uncommitted) > 0 && b.out.Opens(&Message{TargetSpec: "*", BodyVersion: 2})
}

// TestIllegalTransitionPanics checks that a mailbox can make the transitions of the package
// comment and no others.
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
		t.Errorf("got %d legal transitions, want the 11 of the package comment", legal)
	}
	for _, illegal := range [][2]mailboxState{
		{away, upToDate}, {away, reading}, {upToDate, dropped}, {reading, away}, {behind, upToDate}, {abandoned, dropped}, {dropped, away},
	} {
		if transition(illegal[0], illegal[1]) {
			t.Errorf("the transition from %s to %s did not panic", illegal[0], illegal[1])
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

package bench

import (
	"slices"
	"testing"
	"time"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	const ack, refuse, receive, again, other = 'a', 'x', 'r', 'R', 'o'
	for _, tc := range []struct {
		name, events     string
		verdict          verdict // of the last
		settled          bool    // by the last
		lost, unanswered int
	}{
		{"sent", "", 0, false, 0, 1},
		{"acknowledged", "a", welcome, false, 1, 0},
		{"acknowledged twice", "aa", redelivered, false, 1, 0},
		{"received", "r", welcome, false, 0, 1},
		{"acknowledged and received", "ar", welcome, true, 0, 0},
		{"received and acknowledged", "ra", welcome, true, 0, 0},
		{"received again", "arr", redelivered, false, 0, 0},
		{"received under another id", "aro", duplicated, false, 0, 0},
		{"received under another id before its ack", "ro", duplicated, false, 0, 1},
		{"refused", "x", welcome, true, 0, 0},
	} {
		var l ledger
		place := l.add(5)
		var o outcome
		for _, e := range tc.events {
			switch e {
			case ack, refuse:
				o = l.acknowledge(place, e == refuse)
			case receive, again:
				o = l.receive(place, 1)
			case other:
				o = l.receive(place, 2)
			}
		}
		if o.verdict != tc.verdict || o.settled != tc.settled || int(l.lost()) != tc.lost || len(l.unanswered()) != tc.unanswered {
			t.Errorf("%s: %+v, %d lost, unanswered %v", tc.name, o, l.lost(), l.unanswered())
		}
		if o.verdict == welcome && o.at != 5 {
			t.Errorf("%s: sent at %v", tc.name, o.at)
		}
	}
	var l ledger
	if l.acknowledge(0, false).verdict != stranger || l.receive(3, 1).verdict != stranger || l.receive(-1, 1).verdict != stranger {
		t.Error("the ledger knows a message that was never sent")
	}
}

// TestLedgerForgets checks that a ledger of any length drops old settled messages, and no
// others.
func TestLedgerForgets(t *testing.T) {
	t.Parallel()
	var l ledger
	const n = 100_000
	for i := range n {
		if place := l.add(time.Duration(i) * time.Second); place != i {
			t.Fatalf("place %d, want %d", place, i)
		}
		if i != n/2 { // one remains without an answer
			l.acknowledge(i, false)
			l.receive(i, uint64(i))
		}
	}
	if len(l.entries) < n/2 || l.first > n/2 {
		t.Errorf("the ledger forgot an unsettled message: %d entries from %d", len(l.entries), l.first)
	}
	if got := l.unanswered(); !slices.Equal(got, []int{n / 2}) {
		t.Errorf("unanswered are %v", got)
	}
	if o := l.receive(0, 0); o.verdict != duplicated {
		t.Errorf("delivery of a forgotten message: got %+v", o)
	}
	if o := l.acknowledge(0, false); o.verdict != redelivered {
		t.Errorf("answer to a forgotten message: got %+v", o)
	}
	l.acknowledge(n/2, false)
	l.receive(n/2, 7)
	for i := range 2 * 1024 {
		l.acknowledge(l.add(time.Duration(n+i)*time.Second), true)
	}
	if len(l.entries) > 2*1024 {
		t.Errorf("the ledger still has %d entries", len(l.entries))
	}
}

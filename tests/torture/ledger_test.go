package torture

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestLedger checks that the ledger detects each violation.
func TestLedger(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		notes func(l *ledger)
		want  totals
		says  string
	}{
		{"balanced", func(l *ledger) {
			send(l, "1 2 3", "b")
			l.ack("1")
			take(l, "b", "1 2 3")
			l.ack("2")
			l.ack("3")
		}, totals{sent: 3, acked: 3, owed: 3, received: 3}, ""},
		{"lost", func(l *ledger) {
			send(l, "1 2", "b", "c")
			take(l, "b", "1 2")
			take(l, "c", "2")
			l.ack("1")
			l.ack("2")
		}, totals{sent: 2, acked: 2, owed: 4, received: 3, lost: 1}, "1 was acknowledged and c never got it"},
		{"an unacknowledged message is not owed", func(l *ledger) {
			send(l, "1", "b")
		}, totals{sent: 1, unaccepted: 1}, "1 was never acknowledged"},
		{"twice", func(l *ledger) {
			send(l, "1", "b")
			l.ack("1")
			take(l, "b", "1 1")
		}, totals{sent: 1, acked: 1, owed: 1, received: 1, repeated: 1, twice: 1}, "b took 1 twice"},
		{"a copy that the recipient knew", func(l *ledger) {
			send(l, "1", "b")
			l.ack("1")
			take(l, "b", "1")
			l.arrive()
		}, totals{sent: 1, acked: 1, owed: 1, received: 1, repeated: 1}, ""},
		{"accepted twice", func(l *ledger) {
			send(l, "1", "b")
			l.named("1", "x", false)
			l.named("1", "x", true)
			l.ack("1")
			take(l, "b", "1")
			l.named("1", "y", false)
		}, totals{sent: 1, acked: 1, owed: 1, received: 1, twice: 1}, "1 was accepted as x and as y"},
		{"accepted again by a broker that was killed", func(l *ledger) {
			send(l, "1", "b")
			l.named("1", "x", false)
			l.mayForget()
			l.named("1", "y", false)
			l.named("1", "y", true)
			l.ack("1")
			take(l, "b", "1")
		}, totals{sent: 1, acked: 1, owed: 1, received: 1}, ""},
		{"accepted again although it was acknowledged", func(l *ledger) {
			send(l, "1", "b")
			l.named("1", "x", true)
			l.ack("1")
			take(l, "b", "1")
			l.mayForget()
			l.named("1", "z", false) // pushed before a commit that failed, and read late
			l.named("1", "y", true)
		}, totals{sent: 1, acked: 1, owed: 1, received: 1, twice: 1}, "1 was accepted as x and as y"},
		{"out of order in flight", func(l *ledger) {
			send(l, "1 2", "b")
			take(l, "b", "2 1")
			l.ack("1")
			l.ack("2")
		}, totals{sent: 2, acked: 2, owed: 2, received: 2, disordered: 1}, "1 came to b after what was sent later"},
		{"a refused message has no order", func(l *ledger) {
			send(l, "1 2", "b")
			l.refuse("1")
			l.ack("2")
			l.ack("1")
			take(l, "b", "2 1")
		}, totals{sent: 2, acked: 2, owed: 2, received: 2}, ""},
		{"until it is acknowledged", func(l *ledger) {
			send(l, "1", "b")
			l.refuse("1")
			l.ack("1")
			send(l, "2", "b")
			l.ack("2")
			take(l, "b", "2 1")
		}, totals{sent: 2, acked: 2, owed: 2, received: 2, disordered: 1}, "1 came to b"},
		{"strays", func(l *ledger) {
			send(l, "1", "b")
			l.ack("1")
			take(l, "b", "1")
			l.take("1", "c")
		}, totals{sent: 1, acked: 1, owed: 1, received: 1}, "c got 1, which was not for it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLedger()
			c.notes(l)
			c.want.rounds = 1
			got, wrong := l.total()
			says := strings.Join(wrong, "; ")
			if got != c.want || c.says == "" && says != "" || !strings.Contains(says, c.says) {
				t.Errorf("%+v, %q; want %+v, %q", got, says, c.want, c.says)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if open := l.balanced(ctx) != nil; open != (c.want.lost+c.want.unaccepted > 0) {
				t.Errorf("open: %v", open)
			}
		})
	}
}

func send(l *ledger, ids string, to ...string) {
	for id := range strings.FieldsSeq(ids) {
		l.send(id, "a", rawClient, to)
	}
}

func take(l *ledger, who, ids string) {
	for id := range strings.FieldsSeq(ids) {
		l.arrive()
		l.take(id, who)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var sums table
	sums.add("b", totals{rounds: 1, sent: 2})
	sums.add("a", totals{rounds: 1, lost: 7})
	sums.add("b", totals{rounds: 1, sent: 3})
	var out strings.Builder
	if err := sums.print(&out); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(out.String()) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	for i, want := range []string{"a 1 0 0 0 0 0 0 0 7 0", "b 2 0 5 0 0 0 0 0 0 0", "all 3 0 5 0 0 0 0 0 7 0"} {
		if rows[i+1] != want {
			t.Errorf("row %d is %q, want %q", i+1, rows[i+1], want)
		}
	}
}

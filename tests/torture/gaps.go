package torture

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// client is the kind of a sender.
type client int

const (
	rawClient client = iota // builds v1 frames, and gives up a silent connection as late as rawPatience
	ourClient               // package peer
	daemon                  // has a disk, so that its sender never waits for the broker
)

// gaps holds the longest times during a fault for which clients had to wait.
type gaps struct {
	service time.Duration // between two welcomes of new clients
	ours    time.Duration // for the ack of a message from a client of package peer
	raw     time.Duration // for the ack of a message from a raw client
}

func (g gaps) String() string {
	return fmt.Sprintf("new clients waited for up to %s, messages for up to %s from package peer and %s from raw clients",
		tenths(g.service), tenths(g.ours), tenths(g.raw))
}

// or returns the longer of the times of two meshes.
func (g gaps) or(o gaps) gaps {
	return gaps{max(g.service, o.service), max(g.ours, o.ours), max(g.raw, o.raw)}
}

// startGaps begins to measure the gaps anew. What waits already is measured from now.
func (l *ledger) startGaps() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.measured, l.welcomed, l.longest = now, now, gaps{}
}

// longestGaps returns the gaps, with those of messages that still wait.
func (l *ledger) longestGaps() gaps {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.unacked {
		l.waitedLocked(m)
	}
	return l.longest
}

// waitedLocked records how long a message has waited for its ack.
func (l *ledger) waitedLocked(m *message) {
	from := m.at
	if from.Before(l.measured) {
		from = l.measured
	}
	switch wait := time.Since(from); m.by {
	case ourClient:
		l.longest.ours = max(l.longest.ours, wait)
	case rawClient:
		l.longest.raw = max(l.longest.raw, wait)
	}
}

// welcome records that a new client was welcomed.
func (l *ledger) welcome() {
	_, done := l.note()
	defer done()
	now := time.Now()
	l.longest.service, l.welcomed = max(l.longest.service, now.Sub(l.welcomed)), now
}

// gapTable holds the gaps of all faults, by name. Its methods are safe for concurrent use.
type gapTable struct {
	mu   sync.Mutex
	rows map[string][]gaps
}

// add adds the gaps of one fault.
func (t *gapTable) add(fault string, g gaps) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows = make(map[string][]gaps)
	}
	t.rows[fault] = append(t.rows[fault], g)
}

// print writes the table unless it is empty. Of each gap it has the median and the longest.
func (t *gapTable) print(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return nil
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "\nFAULT\tinjected\tnew clients\tlongest\tacks of package peer\tlongest\tof raw clients\tlongest\t")
	for _, fault := range slices.Sorted(maps.Keys(t.rows)) {
		row := t.rows[fault]
		fmt.Fprintf(out, "%s\t%d\t", fault, len(row))
		for _, gap := range []func(gaps) time.Duration{
			func(g gaps) time.Duration { return g.service }, func(g gaps) time.Duration { return g.ours }, func(g gaps) time.Duration { return g.raw },
		} {
			var sorted []time.Duration
			for _, g := range row {
				sorted = append(sorted, gap(g))
			}
			slices.Sort(sorted)
			fmt.Fprintf(out, "%s\t%s\t", tenths(sorted[len(sorted)/2]), tenths(sorted[len(sorted)-1]))
		}
		fmt.Fprintln(out)
	}
	return out.Flush()
}

func tenths(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

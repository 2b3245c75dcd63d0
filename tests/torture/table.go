package torture

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// table sums up the ledgers of a run, by scenario. Its methods are safe for concurrent
// use.
type table struct {
	mu   sync.Mutex
	rows map[string]totals
}

// add adds a ledger's totals to a scenario's.
func (t *table) add(scenario string, v totals) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows = map[string]totals{}
	}
	t.rows[scenario] = t.rows[scenario].plus(v)
}

func (v totals) plus(o totals) totals {
	return totals{
		rounds: v.rounds + o.rounds, faults: v.faults + o.faults, sent: v.sent + o.sent, acked: v.acked + o.acked,
		owed: v.owed + o.owed, received: v.received + o.received, repeated: v.repeated + o.repeated, twice: v.twice + o.twice,
		lost: v.lost + o.lost, disordered: v.disordered + o.disordered, unaccepted: v.unaccepted + o.unaccepted,
	}
}

// print writes the table unless it is empty.
func (t *table) print(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return nil
	}
	names := make([]string, 0, len(t.rows))
	for name := range t.rows {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare[string])
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "FAULT\trounds\tfaults\tsent\tacked\tdeliveries owed\treceived\trepeated\ttwice after dedupe\tlost\tout of order\t")
	var all totals
	for _, name := range names {
		all = all.plus(t.rows[name])
		t.rows[name].print(out, name)
	}
	all.print(out, "all")
	return out.Flush()
}

func (v totals) print(w io.Writer, name string) {
	cells := []int{v.rounds, v.faults, v.sent, v.acked, v.owed, v.received, v.repeated, v.twice, v.lost, v.disordered}
	fmt.Fprintf(w, "%s\t%s\t\n", name, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(cells)), "\t"), "[]"))
}

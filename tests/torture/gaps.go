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

// gapTable holds, by fault, the longest time without a delivery in any mesh. Its methods are safe for
// concurrent use.
type gapTable struct {
	mu   sync.Mutex
	rows map[string][]time.Duration
}

// add adds the gap of one fault.
func (t *gapTable) add(fault string, gap time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows = make(map[string][]time.Duration)
	}
	t.rows[fault] = append(t.rows[fault], gap)
}

// print writes the table unless it is empty.
func (t *gapTable) print(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return nil
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "\nFAULT\tinjected\tmedian gap\tlongest gap\t")
	for _, fault := range slices.Sorted(maps.Keys(t.rows)) {
		row := slices.Sorted(slices.Values(t.rows[fault]))
		fmt.Fprintf(out, "%s\t%d\t%s\t%s\t\n", fault, len(row), tenths(row[len(row)/2]), tenths(row[len(row)-1]))
	}
	return out.Flush()
}

func tenths(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

package cli

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer/bench"
)

// quietFigures lists figures that the table leaves out if they are 0.
var quietFigures = map[string]bool{
	"refused": true, "at_wrong_recipient": true, "not_intact": true, "unanswered": true,
	"redelivered": true, "disconnects": true, "failed_reconnects": true,
}

// printBench prints a result for people.
func (a *app) printBench(r *bench.Result) error {
	fmt.Fprintf(a.out, "%s  %s\n", a.paint(bold, string(r.Name)), benchSettings(&r.Settings))
	m := &r.Machine
	version := m.BrokerVersion
	if version == "" {
		version = "unknown version"
	}
	fmt.Fprintf(a.out, "%d cores, %s/%s, %s; broker %s at %s\n\n", m.Cores, m.OS, m.Arch, m.Go, oneLine(version), oneLine(m.Broker))
	var rows [][]string
	for i := range r.Results {
		f := &r.Results[i]
		if f.Value == nil || *f.Value != 0 || !quietFigures[f.Name] {
			value, unit := inMegabytes(f.Value, f.Unit)
			rows = append(rows, []string{benchLabel(f.Name), benchValue(value, unit), unit})
		}
	}
	if err := a.numbers(rows, 1); err != nil {
		return err
	}
	if len(r.Times) > 0 {
		fmt.Fprintln(a.out)
		rows = [][]string{{"ms", "p50", "p95", "p99", "max", "count"}}
		for i := range r.Times {
			t := &r.Times[i]
			count := float64(t.Count)
			row := []string{benchLabel(t.Name)}
			for _, v := range []float64{t.P50, t.P95, t.P99, t.Max} {
				row = append(row, benchValue(&v, "ms"))
			}
			rows = append(rows, append(row, benchValue(&count, "")))
		}
		if err := a.numbers(rows, 1, 2, 3, 4, 5); err != nil {
			return err
		}
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(a.out, "Note:", oneLine(note))
	}
	return nil
}

// numbers prints a table; the columns in right are aligned to the right.
func (a *app) numbers(rows [][]string, right ...int) error {
	for _, column := range right {
		width := 0
		for _, row := range rows {
			width = max(width, len([]rune(row[column])))
		}
		for _, row := range rows {
			row[column] = strings.Repeat(" ", width-len([]rune(row[column]))) + row[column]
		}
	}
	return a.table(rows)
}

// benchSettings describes the load in a line.
func benchSettings(s *bench.Settings) string {
	var parts []string
	count := func(n int, what string) {
		if n > 0 {
			v := float64(n)
			parts = append(parts, benchValue(&v, "")+" "+what)
		}
	}
	count(s.Sessions, "sessions")
	count(s.Pairs, "pairs")
	if s.Window > 0 {
		parts = append(parts, "window "+strconv.Itoa(s.Window))
	}
	if s.Resend {
		parts = append(parts, "resending at once")
	}
	count(s.Peers, "peers")
	count(s.Recipients, "recipients")
	count(s.Messages, "messages")
	if s.Rate > 0 {
		parts = append(parts, benchValue(&s.Rate, "1/s")+" messages/s")
	}
	count(s.Size, "bytes")
	if s.Duration > 0 {
		parts = append(parts, s.Duration.String())
	}
	if s.Crypto {
		parts = append(parts, "sealed")
	}
	return strings.Join(parts, ", ")
}

// benchLabel returns the name of a figure in tables.
func benchLabel(name string) string {
	name = strings.NewReplacer("send_push", "send→push", "send_ack", "send→ack").Replace(name)
	return strings.ReplaceAll(name, "_", " ")
}

// benchValue formats a figure without its unit.
func benchValue(v *float64, unit string) string {
	switch {
	case v == nil:
		return "unknown"
	case unit == "ms" || unit == "s":
		return thousands(strconv.FormatFloat(*v, 'f', 3, 64))
	case *v == math.Trunc(*v) && unit != "%" || math.Abs(*v) >= 1000:
		return thousands(strconv.FormatFloat(*v, 'f', 0, 64))
	case unit == "":
		return strconv.FormatFloat(*v, 'f', 3, 64)
	}
	return strconv.FormatFloat(*v, 'f', 1, 64)
}

// inMegabytes converts bytes to megabytes, and returns other units unchanged.
func inMegabytes(v *float64, unit string) (value *float64, shown string) {
	if unit != "B" {
		return v, unit
	}
	if v == nil {
		return nil, "MB"
	}
	mb := *v / (1 << 20)
	return &mb, "MB"
}

// thousands inserts commas as thousands separators.
func thousands(s string) string {
	end := strings.IndexByte(s, '.')
	if end < 0 {
		end = len(s)
	}
	for i := end - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// benchProgress shows the progress of a benchmark. Its methods are safe for concurrent use.
type benchProgress struct {
	a        *app
	terminal bool // standard error is a terminal: overwrite one line
	lines    bool // print a line each second
	table    bool // print the intervals to standard output

	mu    sync.Mutex
	shown bool // a line is on the terminal
	head  bool // the header of the intervals is printed
}

func (a *app) newBenchProgress(b *benchRun) *benchProgress {
	return &benchProgress{a: a, terminal: isTerminal(a.err), lines: b.progress, table: !b.json}
}

func (p *benchProgress) progress(s bench.Progress) {
	if !p.terminal && !p.lines {
		return
	}
	text := fmt.Sprintf("%s %s, %d sessions", s.Phase, s.Elapsed.Round(time.Second), s.Sessions)
	if s.Sent > 0 {
		text += fmt.Sprintf(", %d sent, %d delivered, %.0f/s, p50 %.2f ms, p99 %.2f ms", s.Sent, s.Delivered, s.Rate, millis(s.P50), millis(s.P99))
	}
	if s.Refused > 0 {
		text += fmt.Sprintf(", %d refused", s.Refused)
	}
	if s.Memory > 0 {
		text += fmt.Sprintf(", broker %d MB", s.Memory>>20)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.terminal {
		fmt.Fprintln(p.a.err, text)
		return
	}
	fmt.Fprintf(p.a.err, "\r\x1b[K%s", text)
	p.shown = true
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (p *benchProgress) interval(i bench.Interval) {
	if !p.table {
		return
	}
	p.clear()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.head {
		fmt.Fprintf(p.a.out, "%10s %12s %10s %10s %12s\n", "seconds", "messages/s", "p50 ms", "p99 ms", "broker MB")
		p.head = true
	}
	memory := "unknown"
	if i.Memory > 0 {
		memory = fmt.Sprintf("%.1f", float64(i.Memory)/(1<<20))
	}
	fmt.Fprintf(p.a.out, "%10.0f %12.1f %10.3f %10.3f %12s\n", i.At, i.Rate, i.P50, i.P99, memory)
}

// clear erases the progress line.
func (p *benchProgress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.a.err, "\r\x1b[K")
		p.shown = false
	}
}

func (a *app) benchCompareCommand() *cobra.Command {
	var force, asJSON bool
	cmd := &cobra.Command{
		Use: "compare <a.json> <b.json>", Short: "Compare the figures of two runs", Args: cobra.ExactArgs(2),
		Example: `  claudemesh bench compare before.json after.json
  claudemesh bench compare before.json after.json --json`,
		Long: `Read two results that bench has printed with --json. For each figure, print both values, their
ratio, and whether the second is better or worse; changes of less than 5 % count as the same.
The command refuses to compare runs of different kinds or with different settings.
--json: an array of {name, unit, a, b, ratio, mark}.`,
		RunE: func(_ *cobra.Command, args []string) error {
			var results [2]*bench.Result
			for i, name := range args {
				var err error
				if results[i], err = readBench(name); err != nil {
					return err
				}
			}
			changes, err := bench.Compare(results[0], results[1], force)
			if errors.Is(err, bench.ErrDifferent) {
				return fmt.Errorf("%w; use --force to compare them anyway", err)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(nonNil(changes))
			}
			return a.printChanges(results, changes)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "compare even runs of different kinds or with different settings")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func readBench(name string) (*bench.Result, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := bench.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

func (a *app) printChanges(results [2]*bench.Result, changes []bench.Change) error {
	x, y := results[0], results[1]
	if x.Machine.Cores != y.Machine.Cores || x.Machine.OS != y.Machine.OS || x.Machine.Arch != y.Machine.Arch {
		fmt.Fprintln(a.err, "warning: the runs were on different machines")
	}
	rows := [][]string{{"FIGURE", "UNIT", "A", "B", "B/A", ""}}
	for i := range changes {
		c := &changes[i]
		ratio := ""
		if c.Ratio != nil {
			ratio = strconv.FormatFloat(*c.Ratio, 'f', 2, 64)
		}
		mark := string(c.Mark)
		if c.Mark == bench.Same {
			mark = "="
		}
		before, unit := inMegabytes(c.A, c.Unit)
		after, _ := inMegabytes(c.B, c.Unit)
		rows = append(rows, []string{benchLabel(c.Name), unit, benchValue(before, unit), benchValue(after, unit), ratio, mark})
	}
	return a.numbers(rows, 2, 3, 4)
}

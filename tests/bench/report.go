package main

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

//go:embed report.md.tmpl
var reportText string

// page is the data of the template.
type page struct {
	*results
	Rows     []row
	Costs    []costRow
	Growth   []growthRow
	Missed   []missed
	Troubles []string
	Plots    bool
}

type row struct{ What, Of, Goal, Measured, Beside, Reached, Command string }

type costRow struct{ Part, Postgres, SQLite, Relay string }

type growthRow struct {
	Layout                              string
	Sessions                            int
	P50, P99, InUse, Resident, Connects string
}

type missed struct{ Title, Measured, Goal, Why string }

// on returns the goal for a database or a layout of sessions. It replaces the placeholder in the
// names of series and in texts.
func (g goal) on(name string) goal {
	put := func(s string) string {
		if !strings.Contains(s, "%[1]s") {
			return s
		}
		return fmt.Sprintf(s, name)
	}
	g.of, g.series, g.why = name, put(g.series), put(g.why)
	list := make([]beside, len(g.beside))
	for i, b := range g.beside {
		list[i] = beside{b.label, put(b.series), b.unit}
	}
	g.beside = list
	return g
}

// report writes BENCHMARKS.md.
func (r *results) report(w io.Writer) error {
	p := page{results: r, Costs: r.costRows(), Growth: r.growthRows(), Plots: r.plottable()}
	for _, g := range table() {
		if r.Commands[g.probe] == nil && r.Problems[g.probe] == nil {
			continue // the probe didn't run
		}
		p.Rows = append(p.Rows, r.row(&g))
		if s, ok := r.of(g.series); ok && !g.reached(s.Median) && !r.Quick {
			why, err := r.explain(g.why)
			if err != nil {
				return fmt.Errorf("why %s: %w", g.series, err)
			}
			p.Missed = append(p.Missed, missed{strings.TrimSpace(title(&g)), withUnit(s.Median, g.unit), goalText(&g), why})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Problems)) {
		for _, problem := range r.Problems[name] {
			p.Troubles = append(p.Troubles, name+": "+published(problem))
		}
	}
	t, err := template.New("report").Parse(reportText)
	if err != nil {
		return err
	}
	return t.Execute(w, &p)
}

// places matches what a report must not show: paths of the machine, and addresses, which differ
// from run to run.
var places = regexp.MustCompile(`/(tmp|root|home|work|var)/[^\s":)]+|(127\.0\.0\.1|localhost):\d+`)

// published is the first line of a problem, without places.
func published(problem string) string {
	first, _, _ := strings.Cut(problem, "\n")
	return places.ReplaceAllString(strings.Join(strings.Fields(first), " "), "…")
}

// title returns the row's full name. A row that begins with "…" continues an earlier one.
func title(g *goal) string {
	what := g.what
	if rest, ok := strings.CutPrefix(what, "… "); ok {
		head := ""
		for _, other := range table() {
			if other.series == g.series {
				break
			}
			if !strings.HasPrefix(other.what, "… ") {
				head, _, _ = strings.Cut(other.what, ":")
			}
		}
		what = head + ": " + rest
	}
	if g.of == "" {
		return what
	}
	return what + ", " + g.of
}

func (r *results) row(g *goal) row {
	line := row{What: g.what, Of: g.of, Goal: goalText(g), Measured: "not measured", Reached: "–"}
	if s, ok := r.of(g.series); ok {
		line.Measured = spreadText(s, g.unit)
		switch {
		case r.Quick: // the load was smaller than the row says
			line.Reached = "not judged"
		case g.reached(s.Median):
			line.Reached = "yes"
		default:
			line.Reached = "**no**"
		}
	}
	var others []string
	for _, b := range g.beside {
		if s, ok := r.of(b.series); ok {
			others = append(others, b.label+" "+withUnit(s.Median, b.unit))
		}
	}
	line.Beside = strings.Join(others, "; ")
	var commands []string
	for _, c := range r.Commands[g.probe] {
		commands = append(commands, "`"+c+"`")
	}
	line.Command = strings.Join(commands, "<br>")
	return line
}

func goalText(g *goal) string {
	if g.limit == 0 {
		return "0"
	}
	if g.better == atLeast && g.unit == "%" && g.limit == 100 {
		return "100 %"
	}
	return string(g.better) + " " + withUnit(g.limit, g.unit)
}

// explain executes the template of an explanation.
func (r *results) explain(text string) (string, error) {
	t, err := template.New("why").Funcs(template.FuncMap{
		"m": func(name, unit string) string {
			s, ok := r.of(name)
			if !ok {
				return "(not measured)"
			}
			return withUnit(s.Median, unit)
		},
		"figure": func(unit string, v float64) string { return withUnit(v, unit) },
	}).Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, r)
	return b.String(), err
}

// costRows returns the cost of a message by parts, and the sum; nothing if it wasn't measured.
func (r *results) costRows() (list []costRow) {
	cell := func(values []float64) string {
		s, ok := spreadOf(values)
		if !ok || s.Max == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f", s.Median)
	}
	add := func(name string, values func(of string) []float64) {
		list = append(list, costRow{name, cell(values(postgresDB)), cell(values(sqliteDB)), cell(values(relayed))})
	}
	for _, name := range partNames() {
		add(name, func(of string) []float64 { return r.Series[costSeries(name, of)] })
	}
	add("together", r.sums)
	if last := list[len(list)-1]; last.Postgres == "–" && last.SQLite == "–" && last.Relay == "–" {
		return nil
	}
	return list
}

// sums returns what a message costs in each round. The median of the sums isn't the sum of the
// parts' medians.
func (r *results) sums(of string) []float64 {
	sums := slices.Clone(r.Series[series("throughput/cpu", of)]) // of all parts of the server
	for _, name := range []string{partDatabase, partLoad} {
		for round, v := range r.Series[costSeries(name, of)] {
			if round < len(sums) {
				sums[round] += v
			}
		}
	}
	return sums
}

// growthRows returns the figures of each measured size.
func (r *results) growthRows() []growthRow {
	var list []growthRow
	for _, l := range layouts {
		for _, n := range r.sizesOf(l) {
			cell := func(what string) string {
				s, ok := r.of(growthSeries(what, l, n))
				if !ok {
					return "–"
				}
				return number(s.Median)
			}
			list = append(list, growthRow{l.name, n, cell("p50"), cell("p99"), cell("memory"), cell("resident"), cell("connects")})
		}
	}
	return list
}

// sizesOf returns the measured numbers of sessions in ascending order.
func (r *results) sizesOf(l layout) []int {
	var sizes []int
	prefix := series("growth", "memory", l.name) + "/"
	for name := range r.Series {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if n, err := strconv.Atoi(rest); err == nil {
				sizes = append(sizes, n)
			}
		}
	}
	slices.Sort(sizes)
	return sizes
}

// spreadText formats a median with the minimum and maximum.
func spreadText(s spread, unit string) string {
	text := withUnit(s.Median, unit)
	if s.Count > 1 && s.Min != s.Max {
		text += fmt.Sprintf(" (%s–%s)", number(s.Min), number(s.Max))
	}
	return text
}

func withUnit(v float64, unit string) string {
	switch unit {
	case "":
		return number(v)
	case "1/s":
		return number(v) + "/s"
	}
	return number(v) + " " + unit
}

// number formats a figure with about three digits, and commas between thousands.
func number(v float64) string {
	decimals := 0
	switch size := math.Abs(v); {
	case v == math.Trunc(v) || size >= 100:
	case size >= 10:
		decimals = 1
	case size >= 0.1:
		decimals = 2
	case size >= 0.001:
		decimals = 4
	default: // two digits
		decimals = 1 - int(math.Floor(math.Log10(size)))
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

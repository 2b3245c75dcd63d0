package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// results holds everything that a run has measured. The report uses nothing else.
type results struct {
	At      time.Time
	Quick   bool
	Rounds  int
	Machine machine
	// Series holds one value per round. A name is "what/of which", with the database or the
	// ceiling last.
	Series map[string][]float64
	// Commands holds the command lines, by probe.
	Commands map[string][]string
	// Problems holds what went wrong, by probe.
	Problems map[string][]string
}

func newResults() *results {
	return &results{
		At: time.Now().UTC().Truncate(time.Second), Series: make(map[string][]float64),
		Commands: make(map[string][]string), Problems: make(map[string][]string),
	}
}

// series returns the name of a series, e.g. "throughput/postgres".
func series(parts ...any) string {
	name := fmt.Sprint(parts[0])
	for _, p := range parts[1:] {
		name += fmt.Sprint("/", p)
	}
	return name
}

// add adds a value to a series. A quotient that is undefined is a problem, and not a value: JSON
// couldn't hold it, and the whole run would be lost.
func (r *results) add(name string, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		r.trouble("runner", []string{fmt.Sprintf("%s: the figure is undefined (%v)", name, value)})
		return
	}
	r.Series[name] = append(r.Series[name], value)
}

// whole reports whether every probe has run, so that a report has all rows.
func (r *results) whole() bool {
	for _, p := range probes {
		if r.Commands[p.name] == nil && r.Problems[p.name] == nil {
			return false
		}
	}
	return true
}

// typed records a command of a probe, once.
func (r *results) typed(probe, command string) {
	if !slices.Contains(r.Commands[probe], command) {
		r.Commands[probe] = append(r.Commands[probe], command)
	}
}

// trouble records problems of a probe, each once.
func (r *results) trouble(probe string, problems []string) {
	for _, p := range problems {
		if !slices.Contains(r.Problems[probe], p) {
			r.Problems[probe] = append(r.Problems[probe], p)
		}
	}
}

// spread summarizes a series.
type spread struct {
	Median, Min, Max float64
	Count            int
}

// of summarizes a series; ok is false if it has no values.
func (r *results) of(name string) (s spread, ok bool) {
	return spreadOf(r.Series[name])
}

func spreadOf(values []float64) (s spread, ok bool) {
	if len(values) == 0 {
		return s, false
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1], n}, true
}

// save writes the results for a later -render.
func (r *results) save(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func loadResults(path string) (*results, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := newResults()
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read the results in %s: %w", path, err)
	}
	return r, nil
}

package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// schema is the version of Result's JSON. New fields don't need a new version; existing fields
// never change their meaning.
const schema = 1

// Result is the result of a run.
type Result struct {
	Schema    int       `json:"schema"`
	Name      Kind      `json:"name"`
	StartedAt time.Time `json:"startedAt"`
	Settings  Settings  `json:"settings"`
	Results   []Figure  `json:"results"`
	// Times contains the measured latencies.
	Times []Times `json:"times"`
	// Intervals contains the lines of a Soak.
	Intervals []Interval `json:"intervals,omitempty"`
	// Notes explain the figures.
	Notes   []string `json:"notes,omitempty"`
	Machine Machine  `json:"machine"`
	// Interrupted means that the run ended early.
	Interrupted bool `json:"interrupted,omitempty"`
}

// Better says in which direction a figure improves.
type Better string

// The directions. The zero value means neither.
const (
	higher Better = "higher"
	lower  Better = "lower"
)

// Figure is one number of a result.
type Figure struct {
	Name   string   `json:"name"`
	Value  *float64 `json:"value"` // nil if unknown
	Unit   string   `json:"unit,omitempty"`
	Better Better   `json:"better,omitempty"`
}

// Times summarizes a latency, in ms.
type Times struct {
	Name  string  `json:"name"`
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// Interval is a part of a Soak.
type Interval struct {
	At     float64 `json:"at_s"` // its end, since the first message was due
	Rate   float64 `json:"messages_per_second"`
	P50    float64 `json:"send_push_p50_ms"`
	P99    float64 `json:"send_push_p99_ms"`
	Memory int64   `json:"broker_memory_bytes,omitempty"` // 0 if unknown
}

// Machine describes the machine of the load, and the broker.
type Machine struct {
	Cores         int    `json:"cores"`
	OS            string `json:"os"`
	Arch          string `json:"arch"`
	Go            string `json:"go"`
	Broker        string `json:"broker"`                  // its URL
	BrokerVersion string `json:"brokerVersion,omitempty"` // "" if unknown
}

// The figures that Failed checks.
const (
	figureLost       = "lost"
	figureDuplicated = "duplicated"
	figureMisordered = "out_of_order"
	figureMisled     = "at_wrong_recipient"
	figureSpoiled    = "not_intact"
	figureUnanswered = "unanswered"
)

// Value returns a figure. It reports false if there is none with that name, or if its value is
// unknown.
func (r *Result) Value(name string) (float64, bool) {
	for i := range r.Results {
		if f := &r.Results[i]; f.Name == name && f.Value != nil {
			return *f.Value, true
		}
	}
	return 0, false
}

// Failed returns the names of the figures that show a broken promise: messages that were lost,
// duplicated, out of order, delivered to a wrong recipient, changed, or never answered.
func (r *Result) Failed() []string {
	var failed []string
	for _, name := range []string{figureLost, figureDuplicated, figureMisordered, figureMisled, figureSpoiled, figureUnanswered} {
		if n, known := r.Value(name); known && n > 0 {
			failed = append(failed, name)
		}
	}
	return failed
}

// Read reads the JSON of a result.
func Read(r io.Reader) (*Result, error) {
	var result Result
	if err := json.NewDecoder(r).Decode(&result); err != nil {
		return nil, fmt.Errorf("read a result: %w", err)
	}
	if result.Schema != schema || result.Name == "" {
		return nil, fmt.Errorf("not a result of claudemesh bench, or one of another version (schema %d, want %d)", result.Schema, schema)
	}
	return &result, nil
}

func (r *Result) add(name string, value float64, unit string, better Better) {
	r.Results = append(r.Results, Figure{name, &value, unit, better})
}

// addIf adds a figure whose value may be unknown.
func (r *Result) addIf(known bool, name string, value float64, unit string, better Better) {
	r.add(name, value, unit, better)
	if !known {
		r.Results[len(r.Results)-1].Value = nil
	}
}

func (r *Result) addTimes(name string, s *snapshot) {
	if s.Count() == 0 {
		return
	}
	r.Times = append(r.Times, Times{name, s.Count(), ms(s.Quantile(.5)), ms(s.Quantile(.95)), ms(s.Quantile(.99)), ms(s.Max())})
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// ms converts a duration to milliseconds, rounded down to a microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

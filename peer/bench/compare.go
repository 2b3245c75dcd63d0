package bench

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
)

// Mark says how a figure has changed.
type Mark string

// The marks. A figure that has no direction has no mark.
const (
	improved Mark = "better"
	worsened Mark = "worse"
	Same     Mark = "same" // unchanged, or changed by less than noise
)

// noise is the relative difference to expect between two runs with the same settings.
const noise = 0.05

// Change compares one figure of two results.
type Change struct {
	Name  string   `json:"name"`
	Unit  string   `json:"unit,omitempty"`
	A     *float64 `json:"a"`     // nil if unknown
	B     *float64 `json:"b"`     // nil if unknown
	Ratio *float64 `json:"ratio"` // B / A; nil if undefined
	Mark  Mark     `json:"mark,omitempty"`
}

// ErrDifferent means that two results measure different things.
var ErrDifferent = errors.New("the results aren't comparable")

// Compare compares the figures of two results. It fails with ErrDifferent if the runs had
// different kinds or settings. With force it compares the figures that both results have.
func Compare(a, b *Result, force bool) ([]Change, error) {
	if !force {
		if err := sameSettings(a, b); err != nil {
			return nil, err
		}
	}
	others := make(map[string]Figure)
	for _, f := range b.figures() {
		others[f.Name] = f
	}
	var list []Change
	for _, f := range a.figures() {
		if other, ok := others[f.Name]; ok {
			list = append(list, change(f, other.Value))
		}
	}
	return list, nil
}

// sameSettings returns an ErrDifferent that lists the differences.
func sameSettings(a, b *Result) error {
	if a.Name != b.Name {
		return fmt.Errorf("%w: one is from bench %s, the other from bench %s", ErrDifferent, a.Name, b.Name)
	}
	var differ []string
	va, vb := reflect.ValueOf(a.Settings), reflect.ValueOf(b.Settings)
	for i := range va.NumField() {
		if x, y := va.Field(i).Interface(), vb.Field(i).Interface(); x != y {
			name, _, _ := strings.Cut(va.Type().Field(i).Tag.Get("json"), ",")
			differ = append(differ, fmt.Sprintf("%s %v and %v", name, x, y))
		}
	}
	if a.Interrupted || b.Interrupted {
		differ = append(differ, "a run was interrupted")
	}
	if len(differ) > 0 {
		return fmt.Errorf("%w: %s", ErrDifferent, strings.Join(differ, ", "))
	}
	return nil
}

// figures returns results and times as one list.
func (r *Result) figures() []Figure {
	list := append([]Figure(nil), r.Results...)
	for i := range r.Times {
		t := &r.Times[i]
		for _, f := range []struct {
			suffix string
			value  *float64
		}{{"p50", &t.P50}, {"p95", &t.P95}, {"p99", &t.P99}, {"max", &t.Max}} {
			list = append(list, Figure{t.Name + "_" + f.suffix, f.value, "ms", lower})
		}
	}
	return list
}

func change(f Figure, b *float64) Change {
	c := Change{Name: f.Name, Unit: f.Unit, A: f.Value, B: b}
	if c.A == nil || c.B == nil {
		return c
	}
	x, y := *c.A, *c.B
	if x != 0 {
		ratio := y / x
		c.Ratio = &ratio
	}
	switch {
	case f.Better == "":
	case math.Abs(y-x) <= noise*math.Abs(x):
		c.Mark = Same
	case (y > x) == (f.Better == higher):
		c.Mark = improved
	default:
		c.Mark = worsened
	}
	return c
}

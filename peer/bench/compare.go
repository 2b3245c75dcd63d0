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

// The marks. A figure without a good direction has none.
const (
	Improved Mark = "better"
	Worsened Mark = "worse"
	Same     Mark = "same" // or changed by less than noise
)

// noise is the part by which two runs of the same thing differ anyway.
const noise = 0.05

// Change is one figure of two results.
type Change struct {
	Name  string   `json:"name"`
	Unit  string   `json:"unit,omitempty"`
	A     *float64 `json:"a"`     // nil: unknown
	B     *float64 `json:"b"`     // nil: unknown
	Ratio *float64 `json:"ratio"` // B / A; nil when there is none
	Mark  Mark     `json:"mark,omitempty"`
}

// ErrDifferent is returned by Compare for results that measure different things.
var ErrDifferent = errors.New("the results can't be compared")

// Compare puts the figures of two results side by side. It fails with ErrDifferent
// when the runs were of different kinds or had different settings, unless force is
// set; then it has the figures that both have.
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

// sameSettings returns an ErrDifferent that names what differs.
func sameSettings(a, b *Result) error {
	if a.Name != b.Name {
		return fmt.Errorf("%w: one is of %s, the other of %s", ErrDifferent, a.Name, b.Name)
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
		differ = append(differ, "a run that was interrupted")
	}
	if len(differ) > 0 {
		return fmt.Errorf("%w: %s", ErrDifferent, strings.Join(differ, ", "))
	}
	return nil
}

// figures returns the results and the times as one list.
func (r *Result) figures() []Figure {
	list := append([]Figure(nil), r.Results...)
	for i := range r.Times {
		t := &r.Times[i]
		for _, f := range []struct {
			suffix string
			value  *float64
		}{{"p50", &t.P50}, {"p95", &t.P95}, {"p99", &t.P99}, {"max", &t.Max}} {
			list = append(list, Figure{t.Name + "_" + f.suffix, f.value, "ms", Lower})
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
	case (y > x) == (f.Better == Higher):
		c.Mark = Improved
	default:
		c.Mark = Worsened
	}
	return c
}

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func sample(figures ...Figure) *Result {
	return &Result{Schema: schema, Name: Rate, Settings: Defaults(Rate), Results: figures}
}

func TestCompareMarks(t *testing.T) {
	t.Parallel()
	v := func(x float64) *float64 { return &x }
	for _, tc := range []struct {
		name   string
		better Better
		a, b   *float64
		ratio  float64 // 0: none
		mark   Mark
	}{
		{"more of what should be high", higher, v(100), v(150), 1.5, improved},
		{"less of what should be high", higher, v(100), v(50), .5, worsened},
		{"more of what should be low", lower, v(100), v(106), 1.06, worsened},
		{"less of what should be low", lower, v(100), v(90), .9, improved},
		{"noise", lower, v(100), v(104), 1.04, Same},
		{"noise below 0", lower, v(-100), v(-104), 1.04, Same},
		{"none of both", lower, v(0), v(0), 0, Same},
		{"some instead of none", lower, v(0), v(1), 0, worsened},
		{"none instead of some", lower, v(3), v(0), 0, improved},
		{"no direction", "", v(1), v(2), 2, ""},
		{"unknown before", lower, nil, v(2), 0, ""},
		{"unknown after", lower, v(2), nil, 0, ""},
	} {
		list, err := Compare(sample(Figure{"f", tc.a, "", tc.better}), sample(Figure{"f", tc.b, "", tc.better}), false)
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %+v, %v", tc.name, list, err)
		}
		c := list[0]
		if c.Mark != tc.mark || (c.Ratio != nil && *c.Ratio != 0) != (tc.ratio != 0) || tc.ratio != 0 && *c.Ratio != tc.ratio {
			t.Errorf("%s: %+v", tc.name, c)
		}
	}
}

func TestCompareRefusesOthers(t *testing.T) {
	t.Parallel()
	a := sample()
	a.add("lost", 0, "", lower)
	a.add("only a's", 1, "", lower)
	a.Times = []Times{{"send_push", 5, 1, 2, 3, 4}}
	for says, change := range map[string]func(*Result){
		"one is from bench rate, the other from bench soak": func(r *Result) { r.Name = Soak },
		"pairs 10 and 11":       func(r *Result) { r.Settings.Pairs = 11 },
		"duration 30s and 1m0s": func(r *Result) { r.Settings.Duration = Duration(time.Minute) },
		"crypto false and true": func(r *Result) { r.Settings.Crypto = true },
		"interrupted":           func(r *Result) { r.Interrupted = true },
	} {
		b := sample()
		b.add("lost", 1, "", lower)
		b.Times = []Times{{"send_push", 5, 2, 2, 3, 4}}
		change(b)
		if _, err := Compare(a, b, false); !errors.Is(err, ErrDifferent) || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %s", err, says)
		}
		list, err := Compare(a, b, true)
		if err != nil || len(list) != 5 || list[0].Mark != worsened || list[1].Name != "send_push_p50" || *list[1].Ratio != 2 {
			t.Errorf("by force: %+v, %v", list, err)
		}
	}
}

// TestReadResult checks that Read reads a written result, and refuses other files.
func TestReadResult(t *testing.T) {
	t.Parallel()
	a := sample()
	a.add("lost", 0, "", lower)
	a.addIf(false, "broker_memory_peak", 0, "B", lower)
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Read(bytes.NewReader(text))
	if err != nil || b.Settings != a.Settings || len(b.Results) != 2 || b.Results[1].Value != nil {
		t.Fatalf("got %+v, %v", b, err)
	}
	if _, known := b.Value("broker_memory_peak"); known {
		t.Error("an unknown value was read as a known one")
	}
	for _, bad := range []string{"", "{}", "[]", `{"schema":2,"name":"rate"}`, `{"schema":1}`} {
		if r, err := Read(strings.NewReader(bad)); err == nil {
			t.Errorf("Read(%q) = %+v, want an error", bad, r)
		}
	}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	r := sample()
	for _, name := range []string{"refused", "redelivered", "disconnects", figureLost} {
		r.add(name, 0, "", lower)
	}
	if f := r.Failed(); len(f) > 0 {
		t.Errorf("got failed figures %v, want none", f)
	}
	for i := range r.Results {
		*r.Results[i].Value = 2
	}
	if f := r.Failed(); len(f) != 1 || f[0] != figureLost {
		t.Errorf("got %v", f)
	}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	r := sample()
	for i := range 8 {
		r.Intervals = append(r.Intervals, Interval{P50: 1 + float64(i)/10, P99: 10, Memory: int64(1000 * (i + 1))})
	}
	r.drift()
	for name, want := range map[string]float64{"send_push_p50_drift": 60, "send_push_p99_drift": 0, "broker_memory_drift": 600} {
		if got, known := r.Value(name); !known || got < want-.001 || got > want+.001 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	r = sample()
	r.Intervals = []Interval{{P50: 1}}
	if r.drift(); len(r.Results) > 0 || len(r.Notes) != 1 {
		t.Errorf("of one interval: %+v, %q", r.Results, r.Notes)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for kind := range kinds {
		s := Defaults(kind)
		if err := s.Validate(kind); err != nil {
			t.Errorf("defaults of %s: %v", kind, err)
		}
	}
	for _, tc := range []struct {
		kind   Kind
		name   string
		change func(*Settings)
	}{
		{Throughput, "pairs", func(s *Settings) { s.Pairs = 0 }},
		{Throughput, "window", func(s *Settings) { s.Window = -1 }},
		{Throughput, "messages", func(s *Settings) { s.Duration = 0 }},
		{Throughput, "size", func(s *Settings) { s.Size = 1 << 30 }},
		{Throughput, "timeout", func(s *Settings) { s.Timeout = 0 }},
		{Rate, "rate", func(s *Settings) { s.Rate = 0 }},
		{Rate, "duration", func(s *Settings) { s.Duration = 0 }},
		{Burst, "peers", func(s *Settings) { s.Peers = 1 }},
		{Burst, "messages", func(s *Settings) { s.Messages = 0 }},
		{Fanout, "recipients", func(s *Settings) { s.Recipients = 0 }},
		{Idle, "sessions", func(s *Settings) { s.Sessions = 0 }},
		{Idle, "parallel", func(s *Settings) { s.Parallel = 0 }},
		{Idle, "duration", func(s *Settings) { s.Duration = -1 }},
		{Storm, "pairs", func(s *Settings) { s.Sessions = 10 }},
		{Soak, "interval", func(s *Settings) { s.Interval = 2 * s.Duration }},
	} {
		s := Defaults(tc.kind)
		tc.change(&s)
		var wrong *SettingError
		if err := s.Validate(tc.kind); !errors.As(err, &wrong) || wrong.Name != tc.name {
			t.Errorf("%s %s: %v", tc.kind, tc.name, err)
		}
	}
}

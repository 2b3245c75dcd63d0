package presence

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// TestDecide checks every recorded status and source with every signal, on both sides of
// the window, against the rules as protocol v1 states them.
func TestDecide(t *testing.T) {
	t.Parallel()
	statuses := []wire.Status{wire.Idle, wire.Working, wire.DND}
	sources := []Source{JSONL, Manual, Hook}
	ages := []time.Duration{0, testWindow - 1, testWindow, testWindow + 1, time.Hour}
	cases := 0
	for _, is := range statuses {
		for _, was := range sources {
			for _, to := range statuses {
				for _, by := range sources {
					for _, age := range ages {
						var want bool
						if is == to {
							want = by >= was || age > testWindow
						} else {
							want = is != wire.DND || by == Manual
						}
						cases++
						got := decide(status{is, was, t0}, status{to, by, t0.Add(age)}, testWindow)
						if got != want {
							t.Errorf("%s by %d, then %s by %d after %s: decide = %v, want %v", is, was, to, by, age, got, want)
						}
					}
				}
			}
		}
	}
	if cases != 3*3*3*3*5 {
		t.Fatalf("checked %d cases, want %d", cases, 3*3*3*3*5)
	}
}

// TestDecideByHand checks the cases that matter one by one. It finds a mistake that the
// code and the rules of TestDecide share.
func TestDecideByHand(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		cur, new status
		want     bool
	}{
		{"hook changes a manual status", status{wire.Idle, Manual, at(0)}, status{wire.Working, Hook, at(1)}, true},
		{"manual changes a fresh hook's", status{wire.Working, Hook, at(0)}, status{wire.Idle, Manual, at(1)}, true},
		{"jsonl changes a fresh hook's", status{wire.Working, Hook, at(0)}, status{wire.Idle, JSONL, at(1)}, true},
		{"hook enters dnd", status{wire.Idle, Manual, at(0)}, status{wire.DND, Hook, at(1)}, true},
		{"hook does not leave dnd", status{wire.DND, Manual, at(0)}, status{wire.Idle, Hook, at(1)}, false},
		{"hook does not leave a hook's old dnd", status{wire.DND, Hook, at(0)}, status{wire.Working, Hook, at(9999)}, false},
		{"jsonl does not leave dnd", status{wire.DND, Manual, at(0)}, status{wire.Working, JSONL, at(9999)}, false},
		{"manual leaves dnd", status{wire.DND, Hook, at(0)}, status{wire.Working, Manual, at(1)}, true},
		{"hook refreshes a manual status", status{wire.Working, Manual, at(0)}, status{wire.Working, Hook, at(1)}, true},
		{"hook refreshes its own", status{wire.Working, Hook, at(0)}, status{wire.Working, Hook, at(1)}, true},
		{"manual does not refresh a fresh hook's", status{wire.Working, Hook, at(0)}, status{wire.Working, Manual, at(30)}, false},
		{"manual refreshes an old hook's", status{wire.Working, Hook, at(0)}, status{wire.Working, Manual, at(31)}, true},
	}
	for _, tt := range tests {
		if got := decide(tt.cur, tt.new, testWindow); got != tt.want {
			t.Errorf("%s: decide = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSetStatus(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1, proving(9))).Presence
	r.TakeDirty()
	steps := []struct {
		to      wire.Status
		from    Source
		at      int
		changed bool
		dirty   bool
		source  Source
		since   int
	}{
		{wire.Working, Hook, 1, true, true, Hook, 1},
		{wire.Working, Hook, 5, false, false, Hook, 5},
		{wire.Working, Manual, 6, false, false, Hook, 5},
		{wire.Working, Manual, 40, false, true, Manual, 40},
		{wire.DND, Manual, 41, true, true, Manual, 41},
		{wire.Idle, Hook, 42, false, false, Manual, 41},
		{wire.Idle, Manual, 43, true, true, Manual, 43},
	}
	for i, s := range steps {
		if got := r.SetStatus(p, Signal{Status: s.to, Source: s.from}, at(s.at), testWindow); got != s.changed {
			t.Fatalf("step %d: SetStatus = %v, want %v", i, got, s.changed)
		}
		if dirty := r.TakeDirty() != nil; dirty != s.dirty {
			t.Fatalf("step %d: got dirty %v, want %v", i, dirty, s.dirty)
		}
		if p.Source != s.source || !p.StatusAt.Equal(at(s.since)) || !p.LastActive.Equal(at(s.at)) {
			t.Fatalf("step %d: got %s by %d at %v, active %v; want by %d at second %d, active at %d",
				i, p.Status, p.Source, p.StatusAt, p.LastActive, s.source, s.since, s.at)
		}
	}
}

// TestStatusReason checks that a recorded signal replaces the reason, also by none, and
// that a signal that is not recorded leaves it.
func TestStatusReason(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1, proving(9))).Presence
	r.TakeDirty()
	steps := []struct {
		signal Signal
		want   string
		dirty  bool
	}{
		{Signal{wire.Idle, Hook, "waiting"}, "waiting", true},
		{Signal{wire.Idle, Hook, "waiting"}, "waiting", false},
		{Signal{wire.Idle, Manual, "other"}, "waiting", false}, // within the window: not recorded
		{Signal{wire.Idle, Hook, "asking"}, "asking", true},
		{Signal{wire.Idle, Hook, ""}, "", true},
		{Signal{wire.Working, Hook, "compacting"}, "compacting", true},
		{Signal{wire.DND, Manual, "lunch"}, "lunch", true},
		{Signal{wire.Idle, Hook, "waiting"}, "lunch", false}, // only a manual signal leaves dnd
		{Signal{wire.Working, Manual, ""}, "", true},
	}
	for i, s := range steps {
		r.SetStatus(p, s.signal, at(i+1), testWindow)
		if p.StatusReason != s.want {
			t.Errorf("step %d: got reason %q, want %q", i, p.StatusReason, s.want)
		}
		if dirty := r.TakeDirty() != nil; dirty != s.dirty {
			t.Errorf("step %d: got dirty %v, want %v", i, dirty, s.dirty)
		}
	}
	r.SetStatus(p, Signal{wire.Working, Hook, "compacting"}, at(20), testWindow)
	if r.SweepStatus(at(200), testTTL); p.StatusReason != "" || p.Status != wire.Idle {
		t.Errorf("after the sweep: got status %s with reason %q, want idle without a reason", p.Status, p.StatusReason)
	}
}

func TestSweepStatus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		is    wire.Status
		from  Source
		touch int // the second of a sign of life; 0: never
		drop  bool
		falls int // the second at which the status becomes idle; 0: never
	}{
		{"working by hook", wire.Working, Hook, 0, false, 60},
		{"working inferred", wire.Working, JSONL, 0, false, 60},
		{"working by hand", wire.Working, Manual, 0, false, 0},
		{"a sign of life", wire.Working, Hook, 20, false, 80},
		{"leased", wire.Working, Hook, 0, true, 60},
		{"idle", wire.Idle, Hook, 0, false, 0},
		{"dnd by hook", wire.DND, Hook, 0, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newTester(t)
			p := r.join(t0, r.arrival(1, proving(9))).Presence
			r.SetStatus(p, Signal{Status: tt.is, Source: tt.from}, t0, testWindow)
			if tt.touch > 0 {
				r.Touch(p, at(tt.touch))
			}
			if tt.drop {
				r.drop(p, t0)
			}
			r.TakeDirty()
			if tt.falls == 0 {
				if got := r.SweepStatus(at(100_000), testTTL); got != nil || p.Status != tt.is {
					t.Fatalf("the sweep changed the status to %s", p.Status)
				}
				return
			}
			if got := r.SweepStatus(at(tt.falls).Add(-1), testTTL); got != nil {
				t.Fatal("the sweep changed the status too early")
			}
			got := r.SweepStatus(at(tt.falls), testTTL)
			if len(got) != 1 || got[0] != p || p.Status != wire.Idle || p.Source != JSONL || !p.StatusAt.Equal(at(tt.falls)) {
				t.Fatalf("swept %v; got %s by %d at %v, want idle by %d at second %d", got, p.Status, p.Source, p.StatusAt, JSONL, tt.falls)
			}
			if len(r.TakeDirty()) != 1 {
				t.Fatal("the swept presence is not dirty")
			}
		})
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	for _, s := range []wire.Status{wire.Idle, wire.Working, wire.DND} {
		if UrgentOnly(s) != (s != wire.Idle) {
			t.Errorf("UrgentOnly(%s) = %v, want %v", s, UrgentOnly(s), s != wire.Idle)
		}
	}
}

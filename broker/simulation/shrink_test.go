package simulation

import (
	"slices"
	"testing"
)

// shrink removes steps as long as the remaining ones still break a promise, first in halves and
// finally one by one (Zeller's delta debugging). broken runs a schedule and reports whether it
// breaks a promise.
func shrink(s schedule, broken func(schedule) bool) schedule {
	parts := 2
	for len(s.steps) > 1 {
		size := (len(s.steps) + parts - 1) / parts
		smaller := false
		for from := 0; from < len(s.steps); from += size {
			without := schedule{s.seed, slices.Concat(s.steps[:from], s.steps[min(from+size, len(s.steps)):])}
			if broken(without) {
				s, smaller = without, true
				parts = max(parts-1, 2)
				break
			}
		}
		if smaller {
			continue
		}
		if size == 1 {
			break
		}
		parts = min(2*parts, len(s.steps))
	}
	return s
}

func TestShrink(t *testing.T) {
	t.Parallel()
	var s schedule
	for i := range 100 {
		s.steps = append(s.steps, step{index: i})
	}
	tries := 0
	got := shrink(s, func(s schedule) bool {
		tries++
		var need int
		for _, st := range s.steps {
			if st.index == 7 || st.index == 50 || st.index == 99 {
				need++
			}
		}
		return need == 3
	})
	if got.indexes() != "7,50,99" {
		t.Errorf("shrunk to steps %s, want 7,50,99", got.indexes())
	}
	if tries > 300 {
		t.Errorf("shrinking took %d tries, want at most 300", tries)
	}
}

// TestScheduleIsDrawnFromItsSeed checks that a seed always gives the same schedule.
func TestScheduleIsDrawnFromItsSeed(t *testing.T) {
	t.Parallel()
	a, b := makeSchedule(7), makeSchedule(7)
	if !slices.Equal(a.steps, b.steps) {
		t.Error("the same seed gives different schedules")
	}
	if slices.Equal(a.steps, makeSchedule(8).steps) {
		t.Error("different seeds give the same schedule")
	}
	if got := a.only([]int{3, 1}).indexes(); got != "1,3" {
		t.Errorf("kept steps %s, want 1,3", got)
	}
}

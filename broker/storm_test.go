package broker

import "testing"

func TestStormIsOverOnce(t *testing.T) {
	t.Parallel()
	var s storm
	arrived := int64(0)
	over := func(ticks int, each int64) (times int) {
		for range ticks {
			if arrived += each; s.isOver(arrived) {
				times++
			}
		}
		return times
	}
	if over(1000, 1) != 0 {
		t.Error("arrivals now and then counted as a storm")
	}
	if over(5, stormSize) != 0 {
		t.Error("a storm ended while it lasted")
	}
	if over(calmTicks-1, 0) != 0 || over(1, 0) != 1 {
		t.Error("a storm did not end after the calm")
	}
	if over(10*calmTicks, 0) != 0 {
		t.Error("a storm ended twice")
	}
}

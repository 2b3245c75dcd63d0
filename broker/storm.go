package broker

import (
	"runtime"
	"runtime/debug"
)

const (
	// stormSize is how many arrivals make a storm, with no calm between them.
	stormSize = 256
	// calmTicks is how many ticks without more than calmRate arrivals each make a calm.
	calmTicks = 10
	calmRate  = 5
)

// storm notices the end of a storm of arrivals. Without a collection then, an idle process would
// keep the memory of their handshakes for minutes.
type storm struct {
	seen  int64 // arrivals, ever
	size  int64
	quiet int
}

// isOver must be called every tick with the number of arrivals so far. It returns true once after
// each storm.
func (s *storm) isOver(arrived int64) bool {
	came := arrived - s.seen
	s.seen = arrived
	s.size += came
	if s.quiet++; came > calmRate {
		s.quiet = 0
	}
	if s.quiet < calmTicks {
		return false
	}
	was := s.size
	s.size, s.quiet = 0, 0
	return was >= stormSize
}

// giveMemoryBack returns unused memory to the system. It collects twice: the first collection
// leaves what pools hold, and halves grown stacks.
func giveMemoryBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

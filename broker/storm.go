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

// storm notices that many have come and that it has become calm again. What their
// handshakes needed would stay with the process for minutes: nothing collects the
// garbage of a broker that is idle.
type storm struct {
	seen  int64 // arrivals, ever
	size  int64
	quiet int
}

// isOver is told every tick how many have ever arrived. It returns true once after a
// storm.
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

// giveMemoryBack returns to the system what is not in use. The first collection leaves
// what pools hold, and halves the stacks that have grown.
func giveMemoryBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

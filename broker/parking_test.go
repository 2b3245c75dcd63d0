package broker

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// fill lets sends wait in a park until it would block, and returns how many do.
func fill(t *testing.T, p *park) (n int) {
	t.Helper()
	for ; ; n++ {
		a := &arrival{Send: wire.Send{Targets: make([]wire.Target, 1), Ciphertext: strings.Repeat("x", 1000)}}
		p.mu.Lock()
		fits := p.fitsLocked(a)
		p.mu.Unlock()
		if !fits {
			return n
		}
		if _, ok := p.add(a, nil); !ok {
			t.Fatal("the park takes nothing")
		}
	}
}

// What waits on all connections together is bounded: few may have as much waiting as they are
// allowed, thousands have little each, and that they always have. What leaves, in
// whichever way, leaves room for others.
func TestParksShareTheirRoom(t *testing.T) {
	t.Parallel()
	var all atomic.Int64
	parks := make([]park, 4000)
	for i := range parks {
		parks[i].all = &all
		n := fill(t, &parks[i])
		switch size := parks[i].bytes; {
		case i < 3 && size < parkBytes-5000:
			t.Fatalf("connection %d had room for %d bytes", i, size)
		case n < 10:
			t.Fatalf("connection %d had room for %d sends", i, n)
		}
	}
	if size, most := all.Load(), int64(parkedBytes+len(parks)*parkLeast); size > most {
		t.Errorf("%d bytes wait, more than %d", size, most)
	}
	for i := range parks {
		p := &parks[i]
		switch i % 3 {
		case 0:
			for p.parked() > 0 {
				p.shift()
			}
			p.first() // ends what unpark would be
		case 1:
			p.first()
			close(p.ended) // as unpark does in the end
			p.discard()
			p.shift() // of what was being admitted
		case 2:
			p.fail()
		}
	}
	if size := all.Load(); size != 0 {
		t.Errorf("%d bytes wait on no connection", size)
	}
}

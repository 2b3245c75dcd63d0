package broker

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// fill adds sends to a park until it would block, and returns how many it added.
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
			t.Fatal("the park refused a send that fits")
		}
	}
}

// TestParksShareTheirRoom checks that the parks of all connections share a limit: a few can
// use all that one connection may, and thousands always have a little each. A send that
// leaves a park, in whatever way, frees its room for others.
func TestParksShareTheirRoom(t *testing.T) {
	t.Parallel()
	var all atomic.Int64
	parks := make([]park, 4000)
	for i := range parks {
		parks[i].all = &all
		n := fill(t, &parks[i])
		switch size := parks[i].bytes; {
		case i < 3 && size < parkBytes-5000:
			t.Fatalf("connection %d had room for %d bytes, want at least %d", i, size, parkBytes-5000)
		case n < 10:
			t.Fatalf("connection %d had room for %d sends, want at least 10", i, n)
		}
	}
	if size, most := all.Load(), int64(parkedBytes+len(parks)*parkLeast); size > most {
		t.Errorf("%d bytes wait, want at most %d", size, most)
	}
	for i := range parks {
		p := &parks[i]
		switch i % 3 {
		case 0:
			for p.parked() > 0 {
				p.shift()
			}
			p.first() // tells unpark to end
		case 1:
			p.first()
			close(p.ended) // as unpark does when it ends
			p.discard()
			p.shift() // the send that was being admitted
		case 2:
			p.fail()
		}
	}
	if size := all.Load(); size != 0 {
		t.Errorf("%d bytes count as waiting although every park is empty", size)
	}
}

package broker

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// picture is the roster that a client derives from system pushes.
type picture map[*presence.Presence[*conn]]seen

type seen struct {
	here    bool
	profile string
}

func (p picture) hear(events []*event) picture {
	p = maps.Clone(p)
	for _, e := range events {
		was := p[e.about]
		switch {
		case e.kind == wire.EventProfileUpdated:
			p[e.about] = seen{true, string(e.frame)}
		case e.kind == wire.EventPeerLeft:
			delete(p, e.about)
		default:
			p[e.about] = seen{e.shows(), was.profile}
		}
	}
	return p
}

// here removes the hidden presences.
func (p picture) here() picture {
	maps.DeleteFunc(p, func(_ *presence.Presence[*conn], s seen) bool { return !s.here })
	return p
}

// TestReducedNewsGiveTheSamePicture checks with random events that the reduced news give a
// client the same picture as all the news, whatever it knew before, and that they are few.
func TestReducedNewsGiveTheSamePicture(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 7))
		all := happenings(rng, 3+rng.IntN(60))
		heard := rng.IntN(len(all) + 1)
		before := picture{}.hear(all[:heard])
		want := before.hear(all[heard:]).here()
		waiting := slices.Clone(all[heard:])
		kept := reduce(waiting, func(e *event) *event { return e })
		if got := before.hear(kept).here(); !maps.Equal(got, want) {
			t.Fatalf("seed %d: %d of %d events give picture %v, want %v", seed, len(kept), len(all)-heard, got, want)
		}
		known := make(map[*presence.Presence[*conn]]bool)
		for p := range before {
			known[p] = true
		}
		for p := range want {
			known[p] = true
		}
		if len(kept) > 2*len(known) {
			t.Fatalf("seed %d: %d events are left of %d presences, want at most two for each", seed, len(kept), len(known))
		}
		again := reduce(slices.Clone(kept), func(e *event) *event { return e })
		if !slices.Equal(again, kept) {
			t.Fatalf("seed %d: a second reduction changed the %d events to %d", seed, len(kept), len(again))
		}
	}
}

// happenings returns at least n random events, in an order in which a room can announce them.
func happenings(rng *rand.Rand, n int) (events []*event) {
	type one struct {
		p       *presence.Presence[*conn]
		visible bool
	}
	var here []*one
	for len(events) < n {
		tell := func(o *one, kind string) {
			events = append(events, &event{about: o.p, kind: kind, frame: []byte{byte(len(events))}})
		}
		if len(here) == 0 || rng.IntN(3) == 0 {
			o := &one{new(presence.Presence[*conn]), rng.IntN(4) > 0}
			here = append(here, o)
			if o.visible {
				tell(o, []string{wire.EventPeerJoined, wire.EventPeerReturned}[rng.IntN(2)])
			}
			continue
		}
		i := rng.IntN(len(here))
		o := here[i]
		switch rng.IntN(3) {
		case 0:
			if o.visible {
				tell(o, wire.EventPeerLeft)
			}
			here = slices.Delete(here, i, i+1)
		case 1:
			o.visible = !o.visible
			if o.visible {
				tell(o, wire.EventPeerVisible)
			} else {
				tell(o, wire.EventPeerHidden)
			}
		case 2:
			if o.visible {
				tell(o, wire.EventProfileUpdated)
			}
		}
	}
	return events
}

package presence

import (
	"reflect"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// mirror is a member's copy of the roster, kept up to date by asking for changes.
type mirror struct {
	viewer  wire.Key
	version uint64
	rows    map[wire.ID]Presence[int]
	whole   int // number of times that it needed the whole roster
}

// catchUp asks for the changes, applies them and compares the mirror with the room.
func (m *mirror) catchUp(t *tester) {
	t.Helper()
	changed, ended, ok := t.Since(m.version, m.viewer)
	if ok = ok && m.rows != nil; !ok {
		m.rows = make(map[wire.ID]Presence[int])
		m.whole++
		changed, ended = t.list, nil
	}
	for _, p := range changed {
		if p.Visible || p.MemberKey == m.viewer {
			m.rows[p.ID] = shown(p)
		} else if ok {
			t.Fatalf("another member was told of %s, which is hidden", p.Identity)
		}
	}
	for _, id := range ended {
		delete(m.rows, id)
	}
	m.version = t.Version()
	seen := 0
	for _, p := range t.list {
		if p.Visible || p.MemberKey == m.viewer {
			seen++
			if got, want := m.rows[p.ID], shown(p); !reflect.DeepEqual(got, want) {
				t.Fatalf("the mirror's row of %s: got\n%+v, want\n%+v", p.Identity, got, want)
			}
		}
	}
	if len(m.rows) != seen {
		t.Fatalf("the mirror has %d rows, want %d", len(m.rows), seen)
	}
}

// shown returns the fields of a presence that a roster shows.
func shown(p *Presence[int]) Presence[int] {
	row := Presence[int]{Record: p.Record, Online: p.Online}
	row.LastSeenAt, row.StatusAt, row.Source, row.Identity = t0, t0, 0, "" // not shown
	return row
}

func TestSince(t *testing.T) {
	room := newTester(t)
	own := mirror{viewer: key(1)}
	other := mirror{viewer: key(2)}
	look := func() { t.Helper(); own.catchUp(room); other.catchUp(room) }
	look()
	a := room.join(t0, room.arrival(1, proving(101))).Presence
	look()
	b := room.join(t0, room.arrival(1, proving(102))).Presence
	room.SetSummary(a, "busy")
	look()
	room.SetVisible(b, false)
	before := other.version
	look()
	if _, ended, ok := room.Since(before, key(2)); !ok || len(ended) != 1 || ended[0] != b.ID {
		t.Errorf("got ended %v, want the presence that was hidden", ended)
	}
	room.SetSummary(b, "a secret")
	if changed, ended, ok := room.Since(other.version, key(2)); !ok || len(changed)+len(ended) > 0 {
		t.Errorf("others are told of changes to a hidden presence: %v %v", changed, ended)
	}
	room.drop(a, t0)
	look()
	room.ExpireLeases(t0.Add(testLease))
	look()
	before = other.version
	room.End(b, t0)
	if changed, ended, ok := room.Since(before, key(2)); !ok || len(changed)+len(ended) > 0 {
		t.Errorf("others are told that a hidden presence ended: %v %v", changed, ended)
	}
	look()
	if own.whole != 1 || other.whole != 1 {
		t.Errorf("the mirrors needed the whole roster %d and %d times, want once each", own.whole, other.whole)
	}
}

func TestSinceUnknownVersion(t *testing.T) {
	room := newTester(t)
	m := mirror{viewer: key(2)}
	m.catchUp(room)
	for i := range 5 * minGone {
		p := room.join(t0, room.arrival(1, proving(100+i))).Presence
		room.Leave(p, p.Conn, t0)
		if len(room.gone) > minGone {
			t.Fatalf("the room remembers %d ended presences, want at most %d", len(room.gone), minGone)
		}
	}
	if _, _, ok := room.Since(m.version, m.viewer); ok {
		t.Error("Since accepted a version older than the changes that the room remembers")
	}
	if _, _, ok := room.Since(room.Version()+1, m.viewer); ok {
		t.Error("Since accepted a version of the future")
	}
	m.catchUp(room)
	if m.whole != 2 {
		t.Errorf("the mirror needed the whole roster %d times, want 2", m.whole)
	}
}

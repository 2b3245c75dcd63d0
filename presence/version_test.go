package presence

import (
	"reflect"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// mirror is the roster as a member keeps it by asking for what has changed.
type mirror struct {
	viewer  wire.Key
	version uint64
	rows    map[wire.ID]Presence[int]
	whole   int // how often it had to start anew
}

// catchUp asks what has changed and compares the outcome with the room.
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
			t.Fatalf("%s is hidden and was told", p.Identity)
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
				t.Fatalf("the row that is kept of %s is\n%+v, want\n%+v", p.Identity, got, want)
			}
		}
	}
	if len(m.rows) != seen {
		t.Fatalf("%d rows are kept, want %d", len(m.rows), seen)
	}
}

// shown is what a roster shows of a presence.
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
		t.Errorf("who was hidden is not gone: %v", ended)
	}
	room.SetSummary(b, "a secret")
	if changed, ended, ok := room.Since(other.version, key(2)); !ok || len(changed)+len(ended) > 0 {
		t.Errorf("others hear of who is hidden: %v %v", changed, ended)
	}
	room.drop(a, t0)
	look()
	room.ExpireLeases(t0.Add(testLease))
	look()
	before = other.version
	room.End(b, t0)
	if changed, ended, ok := room.Since(before, key(2)); !ok || len(changed)+len(ended) > 0 {
		t.Errorf("others hear that who was hidden has left: %v %v", changed, ended)
	}
	look()
	if own.whole != 1 || other.whole != 1 {
		t.Errorf("the whole roster was needed %d and %d times", own.whole, other.whole)
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
			t.Fatalf("%d presences that have ended are remembered", len(room.gone))
		}
	}
	if _, _, ok := room.Since(m.version, m.viewer); ok {
		t.Error("a version is taken from which not all is remembered")
	}
	if _, _, ok := room.Since(room.Version()+1, m.viewer); ok {
		t.Error("a version of the future is taken")
	}
	m.catchUp(room)
	if m.whole != 2 {
		t.Errorf("the whole roster was needed %d times, want 2", m.whole)
	}
}

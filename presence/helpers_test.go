package presence

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	testLease  = 90 * time.Second
	testWindow = 30 * time.Second
	testTTL    = 60 * time.Second
	noLimit    = 1 << 20
)

var (
	t0   = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	home = netip.MustParseAddr("192.0.2.1")
	away = netip.MustParseAddr("192.0.2.2")
)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

// key and id return distinct values for small numbers.
func key(n int) (k wire.Key) { binary.BigEndian.PutUint64(k[24:], uint64(n)); return k }
func id(n int) (i wire.ID)   { binary.BigEndian.PutUint64(i[8:], uint64(n)); return i }

// tester is a room with a connection counter; connections are numbers from 1.
type tester struct {
	*testing.T
	*Room[int]
	conns int
}

func newTester(t *testing.T) *tester { return &tester{T: t, Room: NewRoom[int](id(1))} }

// arrival returns the arrival of a member connection; opts make it one of a session.
func (t *tester) arrival(member int, opts ...func(*Arrival[int])) *Arrival[int] {
	t.conns++
	a := &Arrival[int]{
		Conn: t.conns, Addr: home, ID: id(1000 + t.conns),
		MemberID: id(member), MemberKey: key(member), DisplayName: "name",
		About: &wire.About{SessionID: "daemon-1", PID: 1, Cwd: "/w", Hostname: "vm"},
	}
	for _, o := range opts {
		o(a)
	}
	return a
}

type opt = func(*Arrival[int])

func proving(session int) opt {
	return func(a *Arrival[int]) { a.SessionKey, a.Proven, a.About.SessionID = key(session), true, "s" }
}
func claiming(session int) opt {
	return func(a *Arrival[int]) { a.SessionKey, a.About.SessionID = key(session), "s" }
}
func succeeding(sessions ...int) opt {
	return func(a *Arrival[int]) {
		for _, n := range sessions {
			a.Succeeds = append(a.Succeeds, key(n))
		}
	}
}
func sid(s string) opt         { return func(a *Arrival[int]) { a.About.SessionID = s } }
func host(s string) opt        { return func(a *Arrival[int]) { a.About.Hostname = s } }
func cwd(s string) opt         { return func(a *Arrival[int]) { a.About.Cwd = s } }
func pid(n int64) opt          { return func(a *Arrival[int]) { a.About.PID = n } }
func from(ip netip.Addr) opt   { return func(a *Arrival[int]) { a.Addr = ip } }
func last(r Record) opt        { return func(a *Arrival[int]) { a.Last = &r } }
func groups(s ...string) opt   { return func(a *Arrival[int]) { a.About.Groups = named(s...) } }
func defaults(s ...string) opt { return func(a *Arrival[int]) { a.DefaultGroups = named(s...) } }
func named(s ...string) (gs []wire.Group) {
	for _, n := range s {
		gs = append(gs, wire.Group{Name: n})
	}
	return gs
}

// join joins an arrival, which must succeed, and checks the room.
func (t *tester) join(now time.Time, a *Arrival[int]) Joined[int] {
	t.Helper()
	j, err := t.Join(a, noLimit, now)
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	if j.Presence.Conn != a.Conn || !j.Presence.Online {
		t.Fatalf("joined presence is not online under its connection: %+v", j.Presence)
	}
	t.check()
	return j
}

// drop leases p, which must be online.
func (t *tester) drop(p *Presence[int], now time.Time) {
	t.Helper()
	if got := t.Drop(p, p.Conn, now, testLease); got != Leased {
		t.Fatalf("Drop = %d, want Leased", got)
	}
	t.check()
}

func (t *tester) refuse(a *Arrival[int], limit int, want error) {
	t.Helper()
	before := len(t.list)
	if _, err := t.Join(a, limit, t0); !errors.Is(err, want) {
		t.Fatalf("join: got error %v, want %v", err, want)
	}
	if len(t.list) != before {
		t.Fatal("a refused join changed the room")
	}
	t.check()
}

// check verifies that every index agrees with the list, by rebuilding them all.
func (t *tester) check() {
	t.Helper()
	want := NewRoom[int](t.meshID)
	want.known = t.known
	for _, p := range t.list {
		if p.ended() {
			t.Fatalf("%s is still in the room although it has ended", p.Identity)
		}
		if p.Online != (p.Conn != 0) || p.Online != p.LeaseUntil.IsZero() {
			t.Fatalf("%s: online %v, conn %d and lease %v contradict each other", p.Identity, p.Online, p.Conn, p.LeaseUntil)
		}
		if want.identity[p.Identity] != nil {
			t.Fatalf("two presences have the identity %s", p.Identity)
		}
		if _, known := t.known[p.SessionKey]; known != p.Proven {
			t.Fatalf("%s: its key is known: %v, proven: %v, want the same", p.Identity, known, p.Proven)
		}
		want.add(p)
	}
	if !slices.Equal(t.list, want.list) {
		t.Fatal("the list is out of order")
	}
	for _, p := range t.list { // the best of all, whatever the order in which they came
		if p.Online && !p.claim && (want.home[p.MemberKey] == nil || p.homelier(want.home[p.MemberKey])) {
			want.home[p.MemberKey] = p
		}
	}
	sameMap(t, "home", t.home, want.home)
	sameMap(t, "byID", t.byID, want.byID)
	sameMap(t, "identity", t.identity, want.identity)
	sameMap(t, "proven", t.proven, want.proven)
	sameIndex(t, "heirs", t.heirs, want.heirs)
	sameIndex(t, "claimed", t.claimed, want.claimed)
	sameIndex(t, "member", t.member, want.member)
	sameIndex(t, "session", t.session, want.session)
	sameIndex(t, "cwd", t.cwd, want.cwd)
	sameIndex(t, "group", t.group, want.group)
}

func sameMap[K, V comparable](t *tester, name string, got, want map[K]V) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d entries, want %d", name, len(got), len(want))
	}
	for k, v := range want {
		if got[k] != v {
			t.Fatalf("%s disagrees with the list at %v", name, k)
		}
	}
}

func sameIndex[K comparable](t *tester, name string, got, want index[K, int]) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d entries, want %d", name, len(got), len(want))
	}
	for k, ps := range want {
		if len(got[k]) != len(ps) {
			t.Fatalf("%s has %d presences at %v, want %d", name, len(got[k]), k, len(ps))
		}
		for _, p := range ps {
			if !slices.Contains(got[k], p) {
				t.Fatalf("%s lacks %s at %v", name, p.Identity, k)
			}
		}
	}
}

// ended reports whether the presence has left its room for good.
func (p *Presence[C]) ended() bool { return !p.EndedAt.IsZero() }

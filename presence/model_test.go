package presence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// model makes random changes to a room and predicts their effect by brute force over its
// list. It also plays the store, from which it sometimes restarts the room.
type model struct {
	*tester
	rng    *rand.Rand
	now    time.Time
	stored map[Identity]Record
	known  map[wire.Key]wire.ID // proven session key → member that proved it last
	seen   map[string]int       // outcome → number of times it came up

	mirrors [4]mirror // of members 0 to 3; member 0 does not exist
}

const modelLimit = 12

// TestModel checks after every step that the indexes agree with the list, that
// the store holds what the room holds, and that each step did what the protocol
// says it does.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := &model{
				tester: newTester(t), rng: rand.New(rand.NewPCG(seed, 1)), now: t0,
				stored: map[Identity]Record{}, known: map[wire.Key]wire.ID{}, seen: map[string]int{},
			}
			for range 6000 {
				m.now = m.now.Add(time.Duration(m.rng.IntN(8)) * time.Second)
				m.step()
				m.check()
				m.checkHeirs()
				m.store()
				i := m.rng.IntN(len(m.mirrors))
				m.mirrors[i].viewer = key(i)
				m.mirrors[i].catchUp(m.tester)
			}
			for _, outcome := range []string{"New", "Resumed", "Replaced", "displaced", "capacity", "taken", "leased", "half-open", "left", "expired", "stale", "restart", "succeeded", "came back", "made place", "inherited"} {
				if m.seen[outcome] == 0 {
					t.Errorf("%s never came up: %v", outcome, m.seen)
				}
			}
		})
	}
}

func (m *model) step() {
	p := m.any()
	switch n := m.rng.IntN(100); {
	case n < 40 || p == nil:
		m.stepJoin()
	case n < 60:
		m.stepDrop(p)
	case n < 68:
		left := m.Leave(p, p.Conn, m.now)
		if left != (p.ended() && m.byID[p.ID] == nil) || left && p.Online {
			m.Fatalf("Leave = %v, which contradicts the presence %+v", left, p)
		}
		m.note(left, "left")
	case n < 70:
		if !m.End(p, m.now) || !p.ended() {
			m.Fatal("a live presence did not end")
		}
	case n < 80:
		m.stepExpire()
	case n < 82:
		m.restart()
	default:
		m.stepChange(p)
	}
}

func (m *model) any() *Presence[int] {
	if m.Len() == 0 {
		return nil
	}
	return m.All()[m.rng.IntN(m.Len())]
}

func (m *model) note(did bool, outcome string) {
	if did {
		m.seen[outcome]++
	}
}

// predict finds by brute force which presence an arrival takes over and which it displaces.
func (m *model) predict(a *Arrival[int]) (found, displaced *Presence[int]) {
	if a.Proven {
		i := slices.IndexFunc(m.list, func(p *Presence[int]) bool { return p.Proven && p.SessionKey == a.SessionKey })
		if i >= 0 {
			found = m.list[i]
		}
		return found, nil
	}
	memberConn := a.SessionKey.IsZero()
	host := HostIdentity(a.MemberKey, a.About.Hostname)
	var byHost, bySession, byBoth *Presence[int]
	for _, p := range m.list {
		if memberConn && a.About.Hostname != "" && p.Identity == host {
			byHost = p
		}
		same := p.MemberKey == a.MemberKey && p.SessionID == a.About.SessionID && p.SessionKey == a.SessionKey && !p.Proven && p.claim == !memberConn
		if !same || p.Online {
			continue
		}
		if bySession == nil || p.attach > bySession.attach {
			bySession = p
		}
		if p.Hostname == a.About.Hostname && (byBoth == nil || p.attach > byBoth.attach) {
			byBoth = p
		}
	}
	switch {
	case byBoth != nil:
		return byBoth, nil
	case byHost != nil && byHost.Online:
		return nil, byHost
	case byHost != nil:
		return byHost, nil
	}
	return bySession, nil
}

func (m *model) stepJoin() {
	opts := []opt{sid(fmt.Sprint("daemon-", m.rng.IntN(2))), host([]string{"", "h1", "h2"}[m.rng.IntN(3)])}
	switch m.rng.IntN(3) {
	case 0:
		opts = append(opts, proving(100+m.rng.IntN(5)))
	case 1:
		opts = append(opts, claiming(102+m.rng.IntN(12)), sid(fmt.Sprint("s", m.rng.IntN(2))))
	}
	for range m.rng.IntN(3) {
		opts = append(opts, succeeding(99+m.rng.IntN(7))) // nobody has key 99
	}
	if m.rng.IntN(2) == 0 {
		opts = append(opts, groups(fmt.Sprintf("g%d/x", m.rng.IntN(3)), "g0"))
	}
	a := m.arrival(1+m.rng.IntN(3), opts...)
	found, displaced := m.predict(a)
	over := m.predictOver(a, found)
	plan, size := m.Plan(a), m.Len()
	wasOnline, oldConn := found != nil && found.Online, 0
	if wasOnline {
		oldConn = found.Conn
	}
	j, err := m.Join(a, modelLimit, m.now)
	switch {
	case found == nil && size-len(over) >= modelLimit:
		if !errors.Is(err, ErrCapacity) {
			m.Fatalf("join of a full room: got error %v, want ErrCapacity", err)
		}
		m.note(true, "capacity")
	case !a.Proven && !m.known[a.SessionKey].IsZero():
		if !errors.Is(err, ErrKeyTaken) {
			m.Fatalf("claim of a proven key: got error %v, want ErrKeyTaken", err)
		}
		m.note(true, "taken")
	case err != nil:
		m.Fatalf("join: %v", err)
	default:
		m.note(found == nil && size >= modelLimit, "made place")
		m.judgeJoin(a, j, plan, found, displaced, wasOnline, oldConn)
		m.judgeSuccession(a, j, over)
		return
	}
	if m.Len() != size {
		m.Fatal("a refused join changed the room")
	}
}

func (m *model) judgeJoin(a *Arrival[int], j Joined[int], plan Plan, found, displaced *Presence[int], wasOnline bool, oldConn int) {
	if a.Proven {
		m.known[a.SessionKey] = a.MemberID
	}
	how, name := New, "New"
	switch {
	case wasOnline:
		how, name = Replaced, "Replaced"
	case found != nil:
		how, name = Resumed, "Resumed"
	}
	m.note(true, name)
	m.note(displaced != nil, "displaced")
	if j.How != how || j.OldConn != oldConn || j.Displaced != displaced || found != nil && j.Presence != found {
		m.Fatalf("join of %+v: got %+v, want %s of %v, displacing %v", a, j, name, found, displaced)
	}
	if plan.New != (how == New) || plan.NeedsSlot != (how == New && len(j.Ended) == 0) || plan.Identity != j.Presence.Identity {
		m.Fatalf("got plan %+v, but %s joined as %s", plan, j.Presence.Identity, name)
	}
	if displaced != nil && (!displaced.Online || displaced.Identity.Returns()) {
		m.Fatalf("got displaced presence %+v, want it online under an identity that does not return", displaced)
	}
}

// predictOver finds by brute force the presences that an arrival ends.
func (m *model) predictOver(a *Arrival[int], found *Presence[int]) (over []*Presence[int]) {
	for _, p := range m.list {
		if a.Proven && p.Proven && p != found && slices.Contains(a.Succeeds, p.SessionKey) && p.MemberKey == a.MemberKey &&
			(found == nil || !p.ConnectedAt.After(found.ConnectedAt)) {
			over = append(over, p)
		}
	}
	return over
}

func (m *model) judgeSuccession(a *Arrival[int], j Joined[int], over []*Presence[int]) {
	if len(j.Ended) != len(over) {
		m.Fatalf("the join ended %d presences, want %d", len(j.Ended), len(over))
	}
	for _, e := range j.Ended {
		if !slices.Contains(over, e.Presence) || !e.Presence.ended() || m.ByKey(e.Presence.SessionKey) != nil {
			m.Fatalf("the join ended %+v, which was not predicted or is still in the room", e.Presence)
		}
	}
	m.note(len(over) > 0, "succeeded")
	var want []wire.Key
	for _, old := range a.Succeeds {
		if a.Proven && old != a.SessionKey && m.known[old] == a.MemberID && !slices.Contains(want, old) {
			want = append(want, old)
		}
	}
	if p := j.Presence; !slices.Equal(p.Succeeds, want) {
		m.Fatalf("got Succeeds %v, want %v", p.Succeeds, want)
	}
	for _, old := range want {
		m.note(m.ByKey(old) != nil, "came back")
	}
}

// checkHeirs compares the heirs of old keys with the result of a search through the list.
func (m *model) checkHeirs() {
	for n := 99; n < 106; n++ {
		old := key(n)
		var want *Presence[int]
		for _, p := range m.list {
			if p.Online && m.ByKey(old) == nil && p.MemberID == m.known[old] && slices.Contains(p.Succeeds, old) &&
				(want == nil || p.attach > want.attach) {
				want = p
			}
		}
		if got := m.Heir(old); got != want {
			m.Fatalf("heir of key %d: got %+v, want %+v", n, got, want)
		}
		m.note(want != nil, "inherited")
	}
}

func (m *model) stepDrop(p *Presence[int]) {
	conn, wasOnline := p.Conn, p.Online
	if m.rng.IntN(5) == 0 {
		conn = 1 << 30 // replaced long ago
	}
	got := m.Drop(p, conn, m.now, testLease)
	switch {
	case !wasOnline || conn == 1<<30:
		if got != Stale || p.Online != wasOnline || p.ended() {
			m.Fatalf("Drop of a stale connection = %d, want Stale and no change of %+v", got, p)
		}
		m.note(true, "stale")
	case got == Left:
		holder := m.ByIdentity(HostIdentity(p.MemberKey, p.Hostname))
		if !p.ended() || p.Identity.Returns() || holder == nil || holder.SessionID != p.SessionID {
			m.Fatalf("a presence ended although no newer connection took its place: %+v", p)
		}
		m.note(true, "half-open")
	default:
		if got != Leased || p.Online || !p.LeaseUntil.Equal(m.now.Add(testLease)) {
			m.Fatalf("Drop = %d, want Leased; presence %+v", got, p)
		}
		m.note(true, "leased")
	}
}

func (m *model) stepExpire() {
	var want []*Presence[int]
	for _, p := range m.list {
		if !p.Online && !p.LeaseUntil.After(m.now) {
			want = append(want, p)
		}
	}
	if got := m.ExpireLeases(m.now); !slices.Equal(got, want) {
		m.Fatalf("ExpireLeases = %v, want %v", got, want)
	}
	m.note(want != nil, "expired")
}

func (m *model) stepChange(p *Presence[int]) {
	group := fmt.Sprintf("g%d/%d", m.rng.IntN(4), m.rng.IntN(3))
	switch m.rng.IntN(7) {
	case 0:
		if err := m.JoinGroup(p, wire.Group{Name: group}); err != nil {
			m.Fatal(err)
		}
	case 1:
		m.LeaveGroup(p, group)
	case 2:
		m.SetVisible(p, m.rng.IntN(2) == 0)
	case 3:
		m.SetSummary(p, fmt.Sprint(m.rng.IntN(9)))
	case 4:
		m.Touch(p, m.now)
	case 5:
		s := []wire.Status{wire.Idle, wire.Working, wire.DND}[m.rng.IntN(3)]
		m.SetStatus(p, Signal{Status: s, Source: Source(1 + m.rng.IntN(3))}, m.now, testWindow)
	case 6:
		m.SweepStatus(m.now, testTTL)
	}
}

// store writes the dirty records and compares all stored records with the room.
func (m *model) store() {
	for _, rec := range m.TakeDirty() {
		m.stored[rec.Identity] = rec
	}
	live := 0
	for identity, rec := range m.stored {
		p := m.ByIdentity(identity)
		if !rec.EndedAt.IsZero() {
			if p != nil {
				m.Fatalf("%s is stored as ended but is in the room", identity)
			}
			continue
		}
		live++
		if p == nil {
			m.Fatalf("%s is stored as live but is not in the room", identity)
		}
		now := p.Record
		now.LastSeenAt, now.StatusAt = rec.LastSeenAt, rec.StatusAt // these changes are not stored
		if !reflect.DeepEqual(now, rec) {
			m.Fatalf("got stored record %+v, want %+v", rec, now)
		}
	}
	if live != m.Len() {
		m.Fatalf("%d presences are stored as live, want the %d in the room", live, m.Len())
	}
}

// restart builds the room anew from the store.
func (m *model) restart() {
	old := m.Room
	var records []Record
	for _, rec := range m.stored {
		records = append(records, rec)
	}
	var known []Known
	for k, member := range m.known {
		known = append(known, Known{SessionKey: k, MemberID: member})
	}
	m.Room = NewRoom[int](old.meshID)
	m.mirrors = [len(m.mirrors)]mirror{}
	m.Restore(records, known, m.now.Add(testLease))
	if m.Len() != old.Len() {
		m.Fatalf("got %d presences after the restart, want %d", m.Len(), old.Len())
	}
	m.note(true, "restart")
}

package presence

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

func TestHome(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	want := func(p *Presence[int], why string) {
		t.Helper()
		if got := r.Home(key(1)); got != p {
			t.Fatalf("%s: got home %+v, want %+v", why, got, p)
		}
	}
	want(nil, "empty room")
	r.join(t0, r.arrival(2))
	want(nil, "only another member's daemon")
	r.join(t0, r.arrival(1, claiming(5), sid("c")))
	want(nil, "only a one-shot")
	s1 := r.join(t0, r.arrival(1, proving(11))).Presence
	s2 := r.join(t0, r.arrival(1, proving(12))).Presence
	want(s2, "equally active sessions")
	r.Touch(s1, at(1))
	want(s1, "session last active")
	d1 := r.join(at(2), r.arrival(1)).Presence
	r.Touch(s1, at(3))
	want(d1, "daemon before sessions")
	d2 := r.join(at(4), r.arrival(1, host("h2"), sid("daemon-2"))).Presence
	want(d2, "newest daemon")
	r.drop(d2, at(5))
	want(d1, "the daemon that is online")
	r.join(at(6), r.arrival(1, host("h2"), sid("daemon-2")))
	want(d2, "the daemon that came back last")
	r.End(d2, at(7))
	r.drop(d1, at(7))
	want(s1, "no daemon online")
	r.drop(s1, at(8))
	r.drop(s2, at(8))
	want(nil, "all leased")
}

func TestLookups(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	s1 := r.join(at(2), r.arrival(1, proving(11))).Presence
	d := r.join(at(1), r.arrival(1)).Presence
	c1 := r.join(at(3), r.arrival(2, claiming(9))).Presence
	r.join(at(4), r.arrival(3, claiming(9)))
	if got := r.ByKey(key(9)); got != c1 {
		t.Fatalf("another member's later claim took the key: %+v", got)
	}
	c3 := r.join(at(5), r.arrival(2, claiming(9), sid("again"))).Presence
	if r.ByKey(key(9)) != c3 {
		t.Fatal("ByKey does not return the newer connection of the same member")
	}
	if r.ByKey(key(11)) != s1 || r.ByKey(key(1)) != nil || r.ByKey(wire.Key{}) != nil {
		t.Fatal("ByKey returned a wrong presence")
	}
	if r.byID[d.ID] != d || r.ByIdentity(HostIdentity(key(1), "vm")) != d {
		t.Fatal("byID or ByIdentity does not return the daemon")
	}
	if got := r.ByMember(key(1)); len(got) != 2 || !slices.Contains(got, s1) || !slices.Contains(got, d) {
		t.Fatalf("ByMember = %v, want the session and the daemon", got)
	}
	if got := r.session["daemon-1"]; len(got) != 1 || got[0] != d {
		t.Fatalf("by session id: got %v, want the daemon", got)
	}
	if all := r.All(); all[0] != d || all[1] != s1 || len(all) != 5 || r.Len() != 5 {
		t.Fatalf("All = %v, want 5 presences, the oldest first", all)
	}
	if _, ok := r.Known(key(9)); ok {
		t.Fatal("Known reports a key that was only claimed")
	}
}

// TestRecheck checks that a room forgets a known key only if the store has forgotten it and its
// session has not been here since the recheck began.
func TestRecheck(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	const here, leased, back, stored, forgotten = 1, 2, 3, 4, 5
	present := map[int]*Presence[int]{}
	for n := here; n <= forgotten; n++ {
		present[n] = r.join(t0, r.arrival(1, proving(n))).Presence
	}
	r.drop(present[leased], at(1))
	for _, n := range []int{back, stored, forgotten} {
		r.Leave(present[n], present[n].Conn, at(1))
	}
	r.BeginRecheck()
	p := r.join(at(2), r.arrival(1, proving(back))).Presence
	r.Leave(p, p.Conn, at(2))
	r.EndRecheck([]Known{{SessionKey: key(stored)}})
	for n := here; n <= forgotten; n++ {
		if _, known := r.Known(key(n)); known != (n != forgotten) {
			t.Errorf("key %d is known: %v", n, known)
		}
	}
	r.check()
	r.EndRecheck(nil) // without a BeginRecheck
	if _, known := r.Known(key(stored)); !known {
		t.Error("a recheck that never began forgot a key")
	}
}

func TestAudience(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	of := map[string]*Presence[int]{}
	for i, s := range []struct {
		name   string
		member int
		groups []string
	}{
		{"sender", 1, []string{"a"}},
		{"own other session", 1, []string{"a"}},
		{"none", 2, nil},
		{"a", 2, []string{"a"}},
		{"a/b", 3, []string{"a/b"}},
		{"both", 3, []string{"a/b/c", "a/d", "x"}},
		{"ab", 4, []string{"ab"}},
		{"hidden", 5, []string{"a/b"}},
		{"leased", 6, []string{"a"}},
	} {
		of[s.name] = r.join(t0, r.arrival(s.member, proving(100+i), groups(s.groups...))).Presence
	}
	r.SetVisible(of["hidden"], false)
	r.drop(of["leased"], t0)
	tests := []struct {
		group string
		want  []string
	}{
		{"", []string{"none", "a", "a/b", "both", "ab", "leased"}},
		{"a", []string{"a", "a/b", "both", "leased"}},
		{"a/b", []string{"a/b", "both"}},
		{"a/b/c", []string{"both"}},
		{"x", []string{"both"}},
		{"ab", []string{"ab"}},
		{"a/", nil},
		{"b", nil},
	}
	for _, tt := range tests {
		var want []wire.ID
		for _, name := range tt.want {
			want = append(want, of[name].ID)
		}
		var got []wire.ID
		for _, p := range r.Audience(nil, key(1), tt.group) {
			got = append(got, p.ID)
		}
		order := func(a, b wire.ID) int { return slices.Compare(a[:], b[:]) }
		slices.SortFunc(want, order)
		slices.SortFunc(got, order)
		if !slices.Equal(got, want) {
			t.Errorf("@%s reaches %v, want %v", tt.group, got, want)
		}
	}
	// Changes take effect at once, and Audience appends to dst.
	r.LeaveGroup(of["both"], "x")
	r.SetVisible(of["none"], false)
	if err := r.JoinGroup(of["ab"], wire.Group{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	if got := r.Audience([]*Presence[int]{nil}, key(1), "x"); len(got) != 2 || got[1] != of["ab"] {
		t.Errorf("after changes @x reaches %v, want ab appended to one nil", got)
	}
	if got := r.Audience(nil, key(1), ""); len(got) != 5 {
		t.Errorf("after changes a broadcast reaches %d, want 5", len(got))
	}
	r.check()
}

func TestGroups(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1)).Presence
	for i := range wire.MaxGroups {
		if err := r.JoinGroup(p, wire.Group{Name: fmt.Sprint("g", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.JoinGroup(p, wire.Group{Name: "more"}); !errors.Is(err, errTooManyGroups) {
		t.Fatalf("one group too many: got error %v, want errTooManyGroups", err)
	}
	if err := r.JoinGroup(p, wire.Group{Name: "g3", Role: "lead"}); err != nil || p.Groups[3].Role != "lead" {
		t.Fatalf("a new role in g3: got %v and group %v, want role lead", err, p.Groups[3])
	}
	if r.LeaveGroup(p, "more") || !r.LeaveGroup(p, "g3") || r.LeaveGroup(p, "g3") {
		t.Fatal("LeaveGroup does not report whether the presence was in the group")
	}
	if len(p.Groups) != wire.MaxGroups-1 {
		t.Fatalf("got %d groups, want %d", len(p.Groups), wire.MaxGroups-1)
	}
	r.check()
}

// crowd returns a room of n sessions of n/10 members; every tenth is in team/red.
func crowd(tb testing.TB, n int) *Room[int] {
	tb.Helper()
	r := NewRoom[int](id(1))
	for i := range n {
		a := &Arrival[int]{
			Conn: i + 1, Addr: home, ID: id(i + 1), MemberID: id(i / 10), MemberKey: key(1 + i/10),
			SessionKey: key(100_000 + i), Proven: true,
			About: &wire.About{SessionID: fmt.Sprint(i), PID: int64(i), Cwd: "/w", Groups: named("everyone")},
		}
		if i%10 == 0 {
			a.About.Groups = named("everyone", "team/red")
		}
		if _, err := r.Join(a, n, t0); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	const n = 10_000
	r := crowd(t, n)
	buf := make([]*Presence[int], 0, n)
	tests := []struct {
		name string
		do   func() bool
	}{
		{"ByKey", func() bool { return r.ByKey(key(100_000+n/2)) != nil }},
		{"Known", func() bool { _, ok := r.Known(key(100_000)); return ok }},
		{"Home", func() bool { return r.Home(key(5)) != nil }},
		{"everybody", func() bool { return len(r.Audience(buf[:0], key(1), "")) == n-10 }},
		{"group", func() bool { return len(r.Audience(buf[:0], key(1), "team")) == n/10-1 }},
		{"large group", func() bool { return len(r.Audience(buf[:0], key(1), "everyone")) == n-10 }},
	}
	for _, tt := range tests {
		ok := true
		if allocs := testing.AllocsPerRun(10, func() { ok = ok && tt.do() }); allocs != 0 || !ok {
			t.Errorf("%s: got %v allocations, want 0; right answer: %v", tt.name, allocs, ok)
		}
	}
}

func BenchmarkByKey(b *testing.B) {
	const n = 10_000
	r := crowd(b, n)
	keys := make([]wire.Key, n)
	for i := range keys {
		keys[i] = key(100_000 + i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if r.ByKey(keys[i%n]) == nil {
			b.Fatal("the presence was not found")
		}
	}
}

func BenchmarkAudience(b *testing.B) {
	r := crowd(b, 10_000)
	for _, bb := range []struct{ name, group string }{{"everybody", ""}, {"tenth", "team/red"}, {"group of all", "everyone"}, {"nobody", "none"}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []*Presence[int]
			for b.Loop() {
				buf = r.Audience(buf[:0], key(1), bb.group)
			}
		})
	}
}

func BenchmarkReplace(b *testing.B) {
	r := crowd(b, 10_000)
	a := &Arrival[int]{Conn: 1, Addr: home, MemberKey: key(1), SessionKey: key(105_000), Proven: true,
		About: &wire.About{SessionID: "5000", Cwd: "/w"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Join(a, 0, t0); err != nil {
			b.Fatal(err)
		}
	}
}

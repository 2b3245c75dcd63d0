package presence

import (
	"net/netip"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

func TestMatchHook(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (*tester, map[string]*Presence[int]) {
		r := newTester(t)
		named := map[string]*Presence[int]{}
		for _, s := range []struct {
			name string
			opts []opt
		}{
			{"one", []opt{proving(11), sid("sid-1"), pid(11), cwd("/a")}},
			{"two", []opt{proving(12), sid("sid-2"), pid(12), cwd("/a")}},
			{"one-shot", []opt{claiming(13), sid("sid-1"), pid(13), cwd("/a")}},
			{"daemon", []opt{sid("daemon-1"), pid(14), cwd("/a")}},
			{"old client", []opt{claiming(15), sid("sid-5"), pid(15), cwd("/b")}},
			{"elsewhere", []opt{proving(16), sid("sid-6"), pid(16), cwd("/a"), from(away)}},
			{"nowhere", []opt{proving(17), sid("sid-7"), pid(17), cwd("/a"), from(netip.Addr{})}},
		} {
			named[s.name] = r.join(t0, r.arrival(1, s.opts...)).Presence
		}
		return r, named
	}
	tests := []struct {
		name string
		hook HookSignal
		want string // "": no presence
	}{
		{"session id", HookSignal{Addr: home, SessionID: "sid-1", PID: 12, Cwd: "/a"}, "one"},
		{"pid and cwd", HookSignal{Addr: home, SessionID: "other", PID: 11, Cwd: "/a"}, "one"},
		{"pid and cwd of a daemon", HookSignal{Addr: home, PID: 14, Cwd: "/a"}, "daemon"},
		{"newest session in the cwd", HookSignal{Addr: home, SessionID: "other", PID: 99, Cwd: "/a"}, "two"},
		{"no pid", HookSignal{Addr: home, Cwd: "/a"}, "two"},
		{"pid in another cwd", HookSignal{Addr: home, PID: 11, Cwd: "/b"}, "old client"},
		{"client that proves nothing", HookSignal{Addr: home, SessionID: "sid-5", Cwd: "/"}, "old client"},
		{"unknown", HookSignal{Addr: home, SessionID: "other", PID: 1, Cwd: "/none"}, ""},
		{"session id of a peer at another address", HookSignal{Addr: home, SessionID: "sid-6", Cwd: "/none"}, ""},
		{"own session from the other address", HookSignal{Addr: away, SessionID: "sid-6", Cwd: "/none"}, "elsewhere"},
		{"mapped address", HookSignal{Addr: netip.MustParseAddr("::ffff:192.0.2.2"), Cwd: "/a"}, "elsewhere"},
		{"no address", HookSignal{SessionID: "sid-7", Cwd: "/a"}, ""},
		{"third address", HookSignal{Addr: netip.MustParseAddr("192.0.2.3"), SessionID: "sid-1", PID: 11, Cwd: "/a"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, named := setup(t)
			if got := r.MatchHook(tt.hook); got != named[tt.want] {
				t.Fatalf("MatchHook = %+v, want %q", got, tt.want)
			}
		})
	}
}

func TestPendingHook(t *testing.T) {
	t.Parallel()
	working := func(sessionID string, pid int64, cwd string) HookSignal {
		return HookSignal{Addr: home, SessionID: sessionID, PID: pid, Cwd: cwd, Status: wire.Working}
	}
	dnd := func(h HookSignal) HookSignal { h.Status = wire.DND; return h }
	tests := []struct {
		name  string
		hooks []HookSignal
		opts  []opt
		after time.Duration
		want  wire.Status
	}{
		{"by session id", []HookSignal{working("s", 0, "/x")}, nil, 0, wire.Working},
		{"by pid and cwd", []HookSignal{working("", 1, "/w")}, nil, 0, wire.Working},
		{"cwd alone is not enough", []HookSignal{working("", 0, "/w")}, nil, 0, wire.Idle},
		{"pid alone is not enough", []HookSignal{working("", 1, "/x")}, nil, 0, wire.Idle},
		{"just in time", []HookSignal{working("s", 0, "/x")}, nil, 10*time.Second - 1, wire.Working},
		{"too late", []HookSignal{working("s", 0, "/x")}, nil, 10 * time.Second, wire.Idle},
		{"from another address", []HookSignal{working("s", 1, "/w")}, []opt{from(away)}, 0, wire.Idle},
		{"without an address", []HookSignal{{SessionID: "s", Cwd: "/w", Status: wire.Working}}, []opt{from(netip.Addr{})}, 0, wire.Idle},
		{"session id before pid", []HookSignal{working("s", 0, "/x"), dnd(working("", 1, "/w"))}, nil, 0, wire.Working},
		{"a newer signal of the same hook", []HookSignal{dnd(working("s", 0, "/x")), working("s", 0, "/x")}, nil, 0, wire.Working},
		{"a newer signal of another hook", []HookSignal{dnd(working("s", 3, "/x")), working("s", 4, "/x")}, nil, 0, wire.Working},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newTester(t)
			for _, h := range tt.hooks {
				r.HoldHook(h, t0)
			}
			a := r.arrival(1, append([]opt{proving(9)}, tt.opts...)...)
			if p := r.join(t0.Add(tt.after), a).Presence; p.Status != tt.want {
				t.Fatalf("got status %s, want %s", p.Status, tt.want)
			}
		})
	}
}

func TestPendingHookIsAppliedOnce(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	r.HoldHook(HookSignal{Addr: home, SessionID: "s", Cwd: "/w", Status: wire.Working}, t0)
	oneShot := r.join(at(1), r.arrival(1, claiming(8))).Presence
	p := r.join(at(2), r.arrival(1, proving(9))).Presence
	if oneShot.Status != wire.Working || p.Status != wire.Working {
		t.Fatalf("got one-shot %s and session %s, want both working: the one-shot must not use up the signal", oneShot.Status, p.Status)
	}
	r.SetStatus(p, Signal{Status: wire.Idle, Source: Hook}, at(3), testWindow)
	if j := r.join(at(4), r.arrival(1, proving(9))); j.StatusChanged || p.Status != wire.Idle {
		t.Fatal("the signal was applied twice")
	}
}

func TestPendingHookOfReturning(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	rec := Record{Identity: SessionIdentity(key(9)), ID: id(5), MemberKey: key(1), SessionKey: key(9), Proven: true,
		SessionID: "s", Status: wire.Working, Source: Hook, Visible: true}
	r.Restore([]Record{rec}, nil, at(90))
	hook := HookSignal{Addr: home, SessionID: "s", Cwd: "/w", Status: wire.Idle}
	if r.MatchHook(hook) != nil {
		t.Fatal("a hook reached a presence whose address is not known yet")
	}
	r.HoldHook(hook, t0)
	j := r.join(at(1), r.arrival(1, proving(9)))
	if j.How != Resumed || !j.StatusChanged || j.Presence.Status != wire.Idle {
		t.Fatalf("joined as %+v, want resumed with the status changed to idle", j)
	}
}

func TestPendingHooksAreBounded(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	for i := range MaxHooks + 1 {
		r.HoldHook(HookSignal{Addr: home, PID: int64(i + 1), Cwd: "/w", Status: wire.Working}, t0)
	}
	if len(r.pending) != MaxHooks || r.pending[0].PID != 2 {
		t.Fatalf("got %d held hooks, the oldest of pid %d; want %d and pid 2", len(r.pending), r.pending[0].PID, MaxHooks)
	}
	r.HoldHook(HookSignal{Addr: home, PID: 9999, Cwd: "/w"}, at(10))
	if len(r.pending) != 1 {
		t.Fatalf("got %d held hooks after the others expired, want 1", len(r.pending))
	}
}

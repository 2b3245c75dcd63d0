package daemon

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

func TestSignsOfLife(t *testing.T) {
	t.Parallel()
	begun := time.Unix(1000, 0)
	at := func(minutes int) time.Time { return begun.Add(time.Duration(minutes) * time.Minute) }
	var s signs
	if !s.over(begun) {
		t.Error("a process without any sign of life counts as alive")
	}
	s.hooked(begun, 10*time.Minute)
	if s.over(at(9)) || !s.over(at(10)) {
		t.Error("a hook does not count for ten minutes")
	}
	s.attached()
	s.attached()
	s.detached(at(20), time.Minute)
	if s.over(at(600)) {
		t.Error("a process with an open stream counts as over")
	}
	s.hooked(at(599), 10*time.Minute)
	s.detached(at(600), time.Minute)
	if s.over(at(600)) || !s.over(at(601)) {
		t.Error("the end of the last stream does not count for a minute")
	}
	s.hooked(at(600), 10*time.Minute)
	if s.over(at(609)) {
		t.Error("a hook after the end of the last stream does not count")
	}
}

// stranger is a process in a container that shares the directory, as the daemon sees it: a pid
// in another namespace, which may be any process's pid here.
type stranger struct {
	*program
	number process.Number
}

// stranger starts a session of a process with that pid in a namespace of its own.
func (u *user) stranger(domain string, pid int, session string) *stranger {
	u.t.Helper()
	s := &stranger{u.program(session), process.Number{Domain: domain, PID: pid}}
	s.register(s.put)
	return s
}

// put turns a registration into one of the stranger.
func (s *stranger) put(r *local.Register) {
	r.Domain, r.PID, r.ProcStart = s.number.Domain, s.number.PID, "4711"
}

// client returns a client for the session.
func (s *stranger) client() *local.Client {
	s.t.Helper()
	// No process has this pid here, so the ticket is found under the pid of this process.
	const nobody = 1 << 30
	path := local.TicketPath(s.u.dir, process.Here(nobody))
	defer os.Remove(path)
	if err := os.Link(local.TicketPath(s.u.dir, s.number), path); err != nil {
		s.t.Fatal(err)
	}
	client, err := local.Session(s.u.dir, nobody)
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

// attach opens the stream of a tool until the caller calls end.
func (s *stranger) attach() (end func()) {
	s.t.Helper()
	client := s.client()
	ctx, cancel := context.WithCancel(s.t.Context())
	heard, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		_ = client.Wake(ctx, local.Wake{Path: local.PathTool}, func(local.Woken) error { kick(heard); return nil })
	}()
	select {
	case <-heard:
	case <-time.After(patience):
		s.t.Fatal("the daemon does not open a stream")
	}
	return func() { cancel(); <-done }
}

// doing returns the status of a session.
func (u *user) doing(session string) wire.Status {
	u.t.Helper()
	for _, s := range u.status().Sessions {
		if s.SessionID == session {
			return s.Status
		}
	}
	return ""
}

func TestTwoProcessesOfOneNumber(t *testing.T) {
	t.Parallel()
	host := new(fakeHost)
	_, alice, _ := pair(t)
	alice.up(func(o *Options) { o.Host, o.correctAfter = host, time.Nanosecond })
	p := alice.session().connected()
	box, other := alice.stranger("box pid:[1]", p.pid(), uuid.NewString()), alice.stranger("box pid:[2]", p.pid(), uuid.NewString())
	box.connected()
	other.connected()
	all := []string{p.id, box.id, other.id}
	slices.Sort(all)
	if got := alice.live(); !slices.Equal(got, all) {
		t.Fatalf("got sessions %v, want %v", got, all)
	}
	// A hook of one stranger says nothing about the others.
	alice.must(local.VerbActivity, local.Activity{PID: p.pid(), Domain: box.number.Domain, SessionID: box.id, Status: wire.Working}, nil)
	for id, want := range map[string]wire.Status{p.id: wire.Idle, box.id: wire.Working, other.id: wire.Idle} {
		if got := alice.doing(id); got != want {
			t.Errorf("session %s is %s, want %s", id, got, want)
		}
	}
	if err := alice.owner(local.VerbActivity, local.Activity{PID: p.pid(), Domain: "box pid:[3]", SessionID: box.id}, nil); err == nil {
		t.Error("the daemon accepted a hook of an unknown namespace")
	}
	// What one of them publishes says nothing about the others either.
	host.set(p.pid(), Published{SessionID: other.id, Status: wire.Working, Namespace: "pid:[2]"})
	await.Until(t, "the published status applies to the process of that namespace", func() bool { return alice.doing(other.id) == wire.Working })
	if got := alice.doing(p.id); got != wire.Idle {
		t.Errorf("the process with the same pid in another namespace is %s, want idle", got)
	}
	// Each token is for its own session.
	if err := box.client().Call(t.Context(), local.VerbSetSummary, local.SetSummary{Summary: "in the box"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.call(local.VerbSetSummary, local.SetSummary{Summary: "outside"}, nil); err != nil {
		t.Fatal(err)
	}
	// The sessions return after a restart, and end one by one.
	alice.down()
	alice.up()
	if got := alice.live(); !slices.Equal(got, all) {
		t.Errorf("after a restart: got sessions %v, want %v", got, all)
	}
	alice.must(local.VerbEnd, local.End{PID: p.pid(), Domain: box.number.Domain, SessionID: box.id, Reason: "other"}, nil)
	rest := without(all, box.id)
	if got := alice.live(); !slices.Equal(got, rest) {
		t.Errorf("after one session ended: got sessions %v, want %v", got, rest)
	}
}

func TestLifeOfAnUnseenProcess(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name             string
		silence, returns time.Duration
		run              func(t *testing.T, u *user, s *stranger)
		live             bool
	}{
		{"hooks alone", time.Hour, 1, func(*testing.T, *user, *stranger) {}, true},
		{"no hook for too long", 1, 1, func(*testing.T, *user, *stranger) {}, false},
		{"a stream goes on", time.Hour, 1, func(t *testing.T, _ *user, s *stranger) { t.Cleanup(s.attach()) }, true},
		{"the last stream ends, and does not come back", time.Hour, 1, func(_ *testing.T, _ *user, s *stranger) { s.attach()() }, false},
		{"it may come back", time.Hour, time.Hour, func(_ *testing.T, _ *user, s *stranger) { s.attach()() }, true},
		{"it comes back after a restart of the daemon", time.Hour, time.Hour, func(t *testing.T, u *user, s *stranger) {
			u.down()
			u.up()
			t.Cleanup(s.attach())
		}, true},
		{"a restart of the daemon, and nothing is heard", time.Hour, time.Hour, func(_ *testing.T, u *user, _ *stranger) {
			u.down()
			u.up(func(o *Options) { o.returnLimit = 1 })
		}, false},
		{"it speaks again", time.Hour, 1, func(t *testing.T, u *user, s *stranger) {
			s.attach()()
			await.Until(t, "the session is over", func() bool { return len(u.live()) == 0 })
			s.register(s.put, func(r *local.Register) { r.Source = local.SourceResume }) // with the next prompt
		}, true},
		{"the session goes on in another container", time.Hour, 1, func(_ *testing.T, u *user, s *stranger) {
			s.attach()()
			s.number.Domain = "another pid:[1]"
			s.register(s.put)
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			bob.up()
			from := bob.session().connected()
			alice.up(func(o *Options) { o.silenceLimit, o.returnLimit = tc.silence, tc.returns })
			s := alice.stranger("box pid:[1]", 7, uuid.NewString())
			tc.run(t, alice, s)
			if !tc.live {
				await.Until(t, "the session is over", func() bool { return len(alice.live()) == 0 })
				return
			}
			s.connected()
			await.Until(t, "the session runs in one process", func() bool { return len(alice.status().Sessions[0].PIDs) == 1 })
			from.send(s.key().String(), "hello")
			await.Until(t, "the session's mail has come", func() bool {
				return slices.ContainsFunc(alice.status().Sessions, func(one local.SessionStatus) bool { return one.Unread == 1 })
			})
		})
	}
}

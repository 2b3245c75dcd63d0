package daemon

import (
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// fakeHost publishes what a test sets.
type fakeHost struct {
	mu     sync.Mutex
	say    map[int]Published
	dir    string              // config directory; "" for the usual one
	answer func(Call) Answered // nil if there is no conversation
}

func (h *fakeHost) Conversation(c Call) Answered {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answer == nil {
		return Answered{}
	}
	return h.answer(c)
}

// converse sets the content of the conversation.
func (h *fakeHost) converse(answer func(Call) Answered) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

func (h *fakeHost) Published(configDir string, pid int) (Published, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.say[pid]
	return p, ok && configDir == h.dir
}

func (h *fakeHost) set(pid int, p Published) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.say == nil {
		h.say = make(map[int]Published)
	}
	h.say[pid] = p
}

func TestStatusOfHooks(t *testing.T) {
	t.Parallel()
	host := new(fakeHost)
	b, alice, _ := pair(t)
	alice.up(func(o *Options) { o.Host = host })
	p := alice.session().connected()
	want := func(status wire.Status, reason string) {
		t.Helper()
		var row wire.PeerRow
		await.Until(t, "peers see "+string(status)+" "+reason, func() bool {
			row = rowOf(alice, p.id)
			return row.Status == status && row.StatusReason == reason
		})
	}
	hook := func(status wire.Status, reason string) {
		t.Helper()
		alice.must(local.VerbActivity, local.Activity{PID: p.pid(), SessionID: p.id, Status: status, Reason: reason}, nil)
	}
	want(wire.Idle, "")
	hook(wire.Working, "")
	want(wire.Working, "")
	hook(wire.Working, "waiting")
	want(wire.Working, "waiting")
	b.Stop()
	hook(wire.Working, "")
	b.Restart()
	want(wire.Working, "")

	host.set(p.pid(), Published{SessionID: p.id, Status: wire.Idle}) // Esc
	want(wire.Idle, "")
	host.set(p.pid(), Published{SessionID: "another", Status: wire.Working})
	hook(wire.Working, "")
	want(wire.Working, "")
	host.set(p.pid(), Published{SessionID: p.id, ProcStart: "1", Status: wire.Idle})

	p.must(local.VerbSetStatus, local.SetStatus{Status: wire.DND}, nil)
	want(wire.DND, "")
	hook(wire.Idle, "")
	hook(wire.Working, "waiting")
	alice.down()
	alice.up(func(o *Options) { o.Host = host })
	p.connected()
	want(wire.DND, "")
	p.must(local.VerbSetStatus, local.SetStatus{Status: wire.Idle}, nil)
	want(wire.Idle, "")
	hook(wire.Working, "")
	want(wire.Working, "")

	p.must(local.VerbSetSummary, local.SetSummary{Summary: "reviews"}, nil)
	await.Until(t, "peers see the summary", func() bool { s := rowOf(alice, p.id).Summary; return s != nil && *s == "reviews" })
	if s := alice.status().Sessions[0]; s.Status != wire.Working {
		t.Errorf("status: %+v", s)
	}
}

// TestStatusOfEachConfigDir checks that the daemon sees an interruption in a session whose
// program has its own config directory, also after a restart of the daemon.
func TestStatusOfEachConfigDir(t *testing.T) {
	t.Parallel()
	host := &fakeHost{dir: "/second/.claude"}
	_, alice, _ := pair(t)
	alice.up(func(o *Options) { o.Host = host })
	p := alice.session(func(r *local.Register) { r.ConfigDir = host.dir }).connected()
	for range 2 {
		host.set(p.pid(), Published{SessionID: p.id})
		alice.must(local.VerbActivity, local.Activity{PID: p.pid(), SessionID: p.id, Status: wire.Working}, nil)
		await.Until(t, "peers see the session as working", func() bool { return rowOf(alice, p.id).Status == wire.Working })
		host.set(p.pid(), Published{SessionID: p.id, Status: wire.Idle})
		await.Until(t, "peers see the session as idle", func() bool { return rowOf(alice, p.id).Status == wire.Idle })
		alice.down()
		alice.up(func(o *Options) { o.Host = host })
		p.connected()
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	after := func(d time.Duration) time.Time { at = at.Add(d); return at }
	say := func(status wire.Status, reason string) map[process.Number]Published {
		return map[process.Number]Published{{PID: 7}: {SessionID: "s", Status: status, Reason: reason}}
	}
	s := newState()
	if !s.hooked(wire.Working, "", after(0)) || s.hooked(wire.Working, "", after(0)) {
		t.Error("a hook did not change the status exactly once")
	}
	if s.published(say(wire.Idle, ""), after(100*time.Millisecond)) || s.published(say(wire.Idle, ""), after(time.Second)) {
		t.Error("a published status took effect too soon after a hook")
	}
	if !s.published(say(wire.Idle, ""), after(time.Second)) || s.Status != wire.Idle {
		t.Error("an interruption was not noticed")
	}
	if s.published(say(wire.Working, "waiting"), after(time.Second)) || !s.published(say(wire.Working, "waiting"), after(time.Second)) || s.Reason != "waiting" {
		t.Error("a published status must take effect at the second check, not at the first")
	}
	two := say(wire.Working, "waiting")
	two[process.Number{PID: 8}] = Published{Status: wire.Working}
	s.published(two, after(time.Second))
	if !s.published(two, after(time.Second)) || s.Reason != "" {
		t.Error("a working process must take precedence over a waiting one")
	}
	again := s.published(nil, after(time.Second))
	if s.published(nil, after(time.Second)) || again || s.Status != wire.Working {
		t.Error("the status changed although nothing is published")
	}
	if s.tired(after(turnSilence-time.Minute)) || !s.tired(after(time.Hour)) || s.Status != wire.Idle {
		t.Error("a turn without signs of life must end after turnSilence")
	}
}

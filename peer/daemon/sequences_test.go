package daemon

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// step is one event: a hook of a claude process reports the start or end of a session, the
// process dies, or the daemon restarts.
type step struct {
	what    string // begin, end, die, restart
	process int
	session string // a letter
	reason  string // source, or reason of the end
}

func begins(process int, session, source string) step { return step{"begin", process, session, source} }
func ends(process int, session, reason string) step   { return step{"end", process, session, reason} }

// TestSequences runs the sequences of SessionStart and SessionEnd that terminals, IDEs and
// crashes produce. Other hooks delay ours arbitrarily, so nothing here depends on time. Each
// session gets a message when it has started. At the end, each session in mail is in the roster
// once, and gets the messages sent to it and to the sessions that it succeeds.
func TestSequences(t *testing.T) {
	t.Parallel()
	die := func(process int) step { return step{what: "die", process: process} }
	restart := step{what: "restart"}
	for _, tc := range []struct {
		name  string
		steps []step
		mail  map[string][]string // by live session, the sessions whose mail it gets
	}{
		{"terminal: start and clear", []step{begins(1, "A", "startup"), ends(1, "A", "clear"), begins(1, "B", "clear")},
			map[string][]string{"B": {"A"}}},
		{"terminal: the end of a clear comes late", []step{begins(1, "A", "startup"), begins(1, "B", "clear"), ends(1, "A", "clear")},
			map[string][]string{"B": {"A"}}},
		{"IDE: a clear is a startup", []step{begins(1, "A", "startup"), ends(1, "A", "clear"), begins(1, "B", "startup")},
			map[string][]string{"B": {"A"}}},
		{"IDE: the end of a clear comes late", []step{begins(1, "A", "startup"), begins(1, "B", "startup"), ends(1, "A", "clear")},
			map[string][]string{"B": {"A"}}},
		{"IDE: two clears, both ends come late", []step{begins(1, "A", "startup"), begins(1, "B", "startup"), begins(1, "C", "startup"), ends(1, "A", "clear"), ends(1, "B", "clear")},
			map[string][]string{"C": {"A", "B"}}},
		{"IDE: two clears, the ends in the other order", []step{begins(1, "A", "startup"), begins(1, "B", "startup"), begins(1, "C", "startup"), ends(1, "B", "clear"), ends(1, "A", "clear")},
			map[string][]string{"C": {"A", "B"}}},
		{"IDE: the daemon restarts within a clear", []step{begins(1, "A", "startup"), ends(1, "A", "clear"), restart, begins(1, "B", "startup")},
			map[string][]string{"B": {"A"}}},
		{"IDE: the daemon restarts before a clear", []step{begins(1, "A", "startup"), restart, ends(1, "A", "clear"), begins(1, "B", "startup")},
			map[string][]string{"B": {"A"}}},
		{"IDE: the end of a clear comes late, to another daemon", []step{begins(1, "A", "startup"), begins(1, "B", "startup"), restart, restart, ends(1, "A", "clear")},
			map[string][]string{"B": {"A"}}},
		{"IDE: two clears, a daemon after each, both ends come late", []step{begins(1, "A", "startup"), begins(1, "B", "startup"), restart, begins(1, "C", "startup"), restart, ends(1, "B", "clear"), ends(1, "A", "clear")},
			map[string][]string{"C": {"A", "B"}}},
		{"IDE: two clears, one end comes late to each daemon", []step{begins(1, "A", "startup"), begins(1, "B", "startup"), begins(1, "C", "startup"), restart, ends(1, "A", "clear"), restart, ends(1, "B", "clear"), restart},
			map[string][]string{"C": {"A", "B"}}},
		{"resume picker, the end comes late, to another daemon", []step{begins(1, "A", "startup"), begins(1, "B", "resume"), restart, ends(1, "A", "resume")},
			map[string][]string{"B": nil}},
		{"cleared, the old one resumed in another terminal, and the end comes late, to another daemon", []step{begins(1, "A", "startup"), begins(1, "B", "startup"), begins(2, "A", "resume"), restart, ends(1, "A", "clear")},
			map[string][]string{"A": nil, "B": nil}},
		{"the start of a clear is missed, the next prompt tells", []step{begins(1, "A", "startup"), ends(1, "A", "clear"), begins(1, "B", "resume")},
			map[string][]string{"B": {"A"}}},
		{"the end is told twice", []step{begins(1, "A", "startup"), ends(1, "A", "clear"), ends(1, "A", "clear"), begins(1, "B", "startup"), ends(1, "A", "clear")},
			map[string][]string{"B": {"A"}}},
		{"the cleared one goes on after all, then another is opened", []step{begins(1, "A", "startup"), ends(1, "A", "clear"), begins(1, "A", "resume"), ends(1, "A", "resume"), begins(1, "B", "resume")},
			map[string][]string{"B": nil}},
		{"resume picker", []step{begins(1, "A", "startup"), ends(1, "A", "resume"), begins(1, "B", "resume")},
			map[string][]string{"B": nil}},
		{"resume picker, the end comes late", []step{begins(1, "A", "startup"), begins(1, "B", "resume"), ends(1, "A", "resume")},
			map[string][]string{"B": nil}},
		{"branch", []step{begins(1, "A", "startup"), begins(1, "B", "fork"), ends(1, "A", "other")},
			map[string][]string{"B": nil}},
		{"compact", []step{begins(1, "A", "startup"), begins(1, "A", "compact"), begins(1, "A", "compact")},
			map[string][]string{"A": nil}},
		{"fork in another terminal", []step{begins(1, "A", "startup"), begins(2, "B", "fork")},
			map[string][]string{"A": nil, "B": nil}},
		{"two windows of one session, one is cleared", []step{begins(1, "A", "startup"), begins(2, "A", "resume"), ends(2, "A", "clear"), begins(2, "B", "startup")},
			map[string][]string{"A": nil, "B": nil}},
		{"two windows of one session, both are cleared", []step{begins(1, "A", "startup"), begins(2, "A", "resume"), ends(2, "A", "clear"), begins(2, "B", "startup"), ends(1, "A", "clear"), begins(1, "C", "startup")},
			map[string][]string{"B": nil, "C": {"A"}}},
		{"reload: the new process comes first", []step{begins(1, "A", "startup"), begins(2, "A", "resume"), ends(1, "A", "other"), die(1)},
			map[string][]string{"A": nil}},
		{"reload: twice, and an old conversation is opened", []step{begins(1, "A", "startup"), begins(2, "B", "resume"), die(1)},
			map[string][]string{"B": nil}},
		{"crash and resume", []step{begins(1, "A", "startup"), die(1), begins(2, "A", "resume")},
			map[string][]string{"A": nil}},
		{"crash within a clear", []step{begins(1, "A", "startup"), ends(1, "A", "clear"), die(1), begins(2, "A", "resume")},
			map[string][]string{"A": nil}},
		{"cleared, and the old one resumed in another terminal before its end is told", []step{begins(1, "A", "startup"), begins(1, "B", "startup"), begins(2, "A", "resume"), ends(1, "A", "clear")},
			map[string][]string{"A": nil, "B": nil}},
		{"restart of the daemon", []step{begins(1, "A", "startup"), begins(2, "B", "startup"), restart},
			map[string][]string{"A": nil, "B": nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			newSequence(t).run(tc.steps).check(tc.mail)
		})
	}
}

// TestLateStart checks that hooks which arrive in the wrong order, or never, leave no session
// that its process does not run.
func TestLateStart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		steps []step
		mail  map[string][]string
	}{
		{"the first start comes last", []step{begins(1, "B", "resume"), begins(1, "A", "startup")}, map[string][]string{"B": nil}},
		{"so does the end", []step{begins(1, "B", "resume"), begins(1, "A", "startup"), ends(1, "A", "other"), begins(1, "A", "startup")}, map[string][]string{"B": nil}},
		{"the second start never comes", []step{begins(1, "B", "startup"), ends(1, "B", "other"), begins(1, "A", "startup")}, map[string][]string{"B": nil}},
		{"a clear, whose start never comes", []step{begins(1, "A", "startup"), ends(1, "A", "clear")}, map[string][]string{"B": {"A"}}},
		{"and in another process", []step{begins(2, "B", "resume"), begins(1, "A", "startup"), begins(2, "A", "resume"), {"die", 1, "", ""}}, map[string][]string{"B": nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			host := new(fakeHost)
			q := newSequence(t, func(o *Options) { o.Host, o.correctAfter = host, time.Nanosecond })
			q.run(tc.steps)
			if q.ids["B"] == "" {
				q.ids["B"] = uuid.NewString()
			}
			p := q.processes[len(q.processes)]
			host.set(p.pid(), Published{SessionID: q.ids["B"], Status: wire.Idle})
			p.id = q.ids["B"]
			p.connected()
			q.write("B", p)
			q.check(tc.mail)
		})
	}
}

// sequence is a run of the steps.
type sequence struct {
	t         *testing.T
	user      *user
	sender    *program
	processes map[int]*program
	ids       map[string]string   // of sessions, by letter
	keys      map[string]wire.Key // of sessions that have received a message
}

func newSequence(t *testing.T, change ...func(*Options)) *sequence {
	_, alice, bob := pair(t)
	alice.up()
	bob.up(change...)
	return &sequence{t, bob, alice.session().connected(), make(map[int]*program), make(map[string]string), make(map[string]wire.Key)}
}

func (q *sequence) run(steps []step) *sequence {
	q.t.Helper()
	for _, s := range steps {
		p := q.processes[s.process]
		if p == nil && s.process != 0 {
			p = q.user.program("")
			q.processes[s.process] = p
		}
		if q.ids[s.session] == "" {
			q.ids[s.session] = uuid.NewString()
		}
		switch s.what {
		case "begin":
			p.id = q.ids[s.session]
			p.register(func(r *local.Register) { r.Source = local.Source(s.reason) })
			p.connected()
			q.write(s.session, p)
		case "end":
			q.user.must(local.VerbEnd, local.End{PID: p.pid(), SessionID: q.ids[s.session], Reason: s.reason}, nil)
		case "die":
			p.kill()
			await.Until(q.t, "the daemon sees that a process has ended", func() bool {
				return !slices.ContainsFunc(q.user.status().Sessions, func(s local.SessionStatus) bool { return slices.Contains(s.PIDs, p.pid()) })
			})
		case "restart":
			q.user.down()
			q.user.up()
		}
	}
	return q
}

// write sends a session its first message.
func (q *sequence) write(session string, p *program) {
	q.t.Helper()
	if _, done := q.keys[session]; done {
		return
	}
	q.keys[session] = p.key()
	sent := q.sender.send(p.key().String(), "for "+session)
	q.sender.awaitState(sent.ID, local.Delivered)
}

func (q *sequence) check(mail map[string][]string) {
	q.t.Helper()
	var want []string
	for session := range mail {
		want = append(want, q.ids[session])
	}
	slices.Sort(want)
	await.Until(q.t, fmt.Sprintf("the live sessions are %v", want), func() bool {
		got := without(q.user.inRoster(), q.sender.id)
		slices.Sort(got)
		live := q.user.live()
		slices.Sort(live)
		return slices.Equal(got, want) && slices.Equal(live, want)
	})
	for session, formers := range mail {
		var p *program
		for _, candidate := range q.processes {
			if candidate.id == q.ids[session] && !candidate.ended {
				p = candidate
			}
		}
		texts := []string{"for " + session}
		for _, former := range formers {
			q.sender.send(q.keys[former].String(), "later for "+former)
			texts = append(texts, "for "+former, "later for "+former)
		}
		got := p.texts(len(texts))
		slices.Sort(got)
		slices.Sort(texts)
		if !slices.Equal(got, texts) {
			q.t.Errorf("session %s got %q, want %q", session, got, texts)
		}
	}
}

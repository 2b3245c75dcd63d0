package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// stream is a wake stream of a session.
type stream struct {
	lines chan local.Woken
	ended chan error
}

func (p *program) wake(path local.Path) *stream {
	p.t.Helper()
	client, err := local.Session(p.u.dir, p.pid())
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	s := &stream{lines: make(chan local.Woken, 100), ended: make(chan error, 1)}
	go func() {
		s.ended <- client.Wake(ctx, local.Wake{Path: path, PID: p.pid()}, func(w local.Woken) error { s.lines <- w; return nil })
	}()
	<-s.lines // the first line says that the daemon has attached it, or is about to
	await.Until(p.t, "the path is attached", func() bool {
		for _, one := range p.u.status().Sessions {
			if one.SessionID == p.id {
				return one.Wake != string(local.PathHooks)
			}
		}
		return false
	})
	return s
}

// pointer returns the next pointer of the stream.
func (s *stream) pointer() string {
	for w := range s.lines {
		if w.Pointer != "" {
			return w.Pointer
		}
	}
	return ""
}

func TestWakeStream(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from, to := alice.session().connected(), bob.session().connected()
	waiter := to.wake(local.PathWaiter)
	from.send("bob-session", "one")
	if got := waiter.pointer(); !strings.Contains(got, "alice") || strings.Contains(got, "one\n") {
		t.Errorf("pointer %q", got)
	}
	if err := <-waiter.ended; err != nil {
		t.Errorf("a waiter's stream ends after one pointer: %v", err)
	}
	monitor := to.wake(local.PathMonitor)
	from.send("bob-session", "two")
	if got := monitor.pointer(); !strings.HasPrefix(got, "2 unread") {
		t.Errorf("pointer %q", got)
	}
	var pointer local.Pointer
	bob.must(local.VerbActivity, local.Activity{PID: to.pid(), SessionID: to.id, Human: true, WantPointer: true}, &pointer)
	if pointer.Pointer != "" {
		t.Errorf("the message was announced twice: %q", pointer.Pointer)
	}

	// The stream continues with the session that follows a clear.
	old := to.id
	bob.must(local.VerbEnd, local.End{PID: to.pid(), SessionID: old, Reason: "clear"}, nil)
	to.id = uuid.NewString()
	to.register(func(r *local.Register) { r.Source = local.SourceClear })
	if got := monitor.pointer(); !strings.HasPrefix(got, "2 unread") {
		t.Errorf("pointer after a clear: %q", got)
	}
	if got := to.texts(2); len(got) != 2 {
		t.Errorf("got %q", got)
	}

	// The stream is quiet during dnd, except for messages of priority now.
	to.must(local.VerbSetStatus, local.SetStatus{Status: wire.DND}, nil)
	from.send("bob-session", "urgent")
	if got := monitor.pointer(); !strings.HasPrefix(got, "1 unread") {
		t.Errorf("pointer under dnd: %q", got)
	}

	replaced := monitor
	_ = to.wake(local.PathMonitor)
	over := false
	for w := range replaced.lines {
		if w.Over {
			over = true
			break
		}
	}
	if err := <-replaced.ended; err != nil || !over {
		t.Errorf("the older monitor: over %v, %v", over, err)
	}
	if err := to.call(local.VerbWake, local.Wake{Path: "x"}, nil); err == nil {
		t.Error("an unknown path was accepted")
	}
}

func TestWakeStreamEndsWithItsSessionAndItsDaemon(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	first, second := alice.session().connected(), alice.session().connected()
	a, b := first.wake(local.PathMonitor), second.wake(local.PathMonitor)
	alice.must(local.VerbEnd, local.End{PID: first.pid(), SessionID: first.id}, nil)
	if err := <-a.ended; err != nil {
		t.Errorf("end of the session: %v", err)
	}
	alice.down()
	if err := <-b.ended; err != nil {
		t.Errorf("end of the daemon: %v", err)
	}
}

func TestHooksAnnounceWithoutAPath(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from, to := alice.session().connected(), bob.session().connected()
	from.send("bob-session", "hello")
	await.Until(t, "the message has come", func() bool { return unread(to) == 1 })
	activity := local.Activity{PID: to.pid(), SessionID: to.id, WantPointer: true}
	var pointer local.Pointer
	await.Until(t, "a tool's hook announces the message", func() bool {
		bob.must(local.VerbActivity, activity, &pointer)
		return pointer.Pointer != ""
	})
	number := pointer.Number
	pointer = local.Pointer{}
	if bob.must(local.VerbActivity, activity, &pointer); pointer.Pointer != "" {
		t.Errorf("the message was announced again: %q", pointer.Pointer)
	}
	var e *local.Error
	activity.SessionID = uuid.NewString()
	if err := bob.owner(local.VerbActivity, activity, nil); !errors.As(err, &e) || e.Code != local.CodeRefused {
		t.Errorf("another session's hook: %v", err)
	}
	activity.PID = 1
	if err := bob.owner(local.VerbActivity, activity, nil); !errors.As(err, &e) || e.Code != local.CodeNotFound {
		t.Errorf("a hook of an unknown session: got error %v", err)
	}
	bob.must(local.VerbPrinted, local.Printed{PID: to.pid(), Number: number}, nil)
	restarted := bob.program(to.id)
	to.kill()
	await.Until(t, "the session has ended", func() bool { return len(bob.live()) == 0 })
	restarted.register(func(r *local.Register) { r.Source = local.SourceResume })
	// The message was announced, but to a process that is gone, and no turn starts by itself.
	if got := restarted.wake(local.PathMonitor).pointer(); !strings.HasPrefix(got, "1 unread") {
		t.Errorf("after a resume: %q", got)
	}
}

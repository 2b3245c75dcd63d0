package daemon

import (
	"testing"

	"github.com/claudemesh/claudemesh/peer/daemon/store"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
)

// TestMailOfASessionThatCameBack checks that a session that was cleared and has returned
// keeps its own mail, even if the daemon restarts.
func TestMailOfASessionThatCameBack(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	a := alice.session().connected()
	p := bob.session().connected()
	old, key := p.id, p.key()
	bob.must(local.VerbEnd, local.End{PID: p.pid(), SessionID: old, Reason: "clear"}, nil)
	p.id = uuid.NewString()
	p.register(func(r *local.Register) { r.Source = local.SourceClear })
	p.connected()
	back := func() *program {
		q := bob.program(old)
		q.register(func(r *local.Register) { r.Source = local.SourceResume })
		return q.connected()
	}
	first := back()
	a.send(key.String(), "for the one who came back")
	await.Until(t, "the message has come", func() bool { return unread(first) == 1 })
	first.kill()
	await.Until(t, "the killed session has ended", func() bool { return len(bob.live()) == 1 })
	bob.down()
	bob.up()
	p.connected()
	if n := unread(p); n != 0 {
		t.Errorf("the successor has %d unread messages, want none", n)
	}
	if n := unread(back()); n != 1 {
		t.Errorf("the session that came back has %d unread messages, want 1", n)
	}
}

// TestInterruptedHandOver checks that the next start completes a hand-over that a crash
// interrupted.
func TestInterruptedHandOver(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	a := alice.session().connected()
	p, next := bob.session().connected(), bob.session().connected()
	a.send(p.key().String(), "for the successor")
	await.Until(t, "the message has come", func() bool { return unread(p) == 1 })
	p.kill()
	await.Until(t, "the killed session has ended", func() bool { return len(bob.live()) == 1 })
	bob.down()
	kept, err := store.Open(t.Context(), bob.dir)
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := kept.Sessions(t.Context())
	if err != nil || len(sessions) != 1 || sessions[0].ID != next.id {
		t.Fatalf("got %+v, %v", sessions, err)
	}
	successor := &sessions[0]
	if err := kept.PutSuccessor(t.Context(), successor, map[string][]string{successor.Meshes[0]: {p.id}}, p.id); err != nil {
		t.Fatal(err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	bob.up()
	next.connected()
	if n := unread(next); n != 1 {
		t.Errorf("the successor has %d unread messages, want 1", n)
	}
	bob.down()
	if kept, err = store.Open(t.Context(), bob.dir); err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if list, err := kept.Handovers(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("got remaining hand-overs %v, %v; want none", list, err)
	}
}

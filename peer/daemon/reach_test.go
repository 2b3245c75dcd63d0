package daemon

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// TestReach checks combinations of what a session shows, and whether it can then read.
func TestReach(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, does, want string
	}{
		{"nothing yet", "", ""},
		{"all of it", "running tool path hook", ""},
		{"no wake path", "running tool hook wait", ""},
		{"no hooks, but something wakes it", "running tool path wait turn turn turn", ""},
		{"no hooks", "running tool wait", local.NoHooks},
		{"not yet known", "running tool", ""},
		{"not started yet", "wait", ""},
		{"hooks come late", "running tool wait hook", ""},
		{"no tool", "running path hook wait", local.NoTool},
		{"the tool has ended", "running tool path hook gone wait", local.NoTool},
		{"the tool has ended just now", "running tool path hook gone", ""},
		{"the tool is back", "running tool path hook gone wait tool", ""},
		{"an older tool, which does not attach itself", "running path hook wait call", ""},
		{"a turn without hooks", "running tool hook wait turn", ""},
		{"turns without hooks", "running tool hook wait turn turn", local.NoHooks},
		{"hooks again", "running tool hook wait turn turn hook", ""},
		{"a turn without hooks, and there were never any", "running tool turn wait", local.NoHooks},
		{"an earlier daemon knew it", "earlier running tool wait", ""},
		{"an earlier daemon knew it, and its hooks are off", "earlier running tool wait turn", local.NoHooks},
		{"launch says so", "expected", "expected"},
		{"launch says so, and it comes true", "expected running tool wait", "expected"},
		{"launch says so, and is wrong", "expected running tool hook", ""},
	} {
		var r reach
		now, path := time.Unix(1000, 0), false
		for what := range strings.FieldsSeq(tc.does) {
			switch what {
			case "running":
				r.seen(wire.Idle, now)
			case "tool":
				r.tools++
			case "gone":
				r.tools, r.left, r.called = 0, now, false
			case "call":
				r.called = true
			case "path":
				path = true
			case "hook":
				r.hooked(now)
			case "turn":
				now = now.Add(time.Minute)
				r.seen(wire.Working, now)
				now = now.Add(time.Minute)
				r.seen(wire.Idle, now)
			case "earlier":
				r.earlier = true
			case "expected":
				r.expected = "expected"
			case "wait":
				now = now.Add(reachGrace + time.Second)
			}
		}
		if got := r.cannotRead(path, now); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestPeersSeeWhoCannotRead checks that while a session can't read, its peers, the sender
// and the message's status show it. All of that ends once the session can read.
func TestPeersSeeWhoCannotRead(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	const why = "hooks are off on that machine"
	a := alice.session().connected()
	b := bob.session(func(r *local.Register) { r.Source, r.CannotRead = local.SourceLaunch, why }).connected()
	seen := func() string { return rowOf(alice, b.id).CannotRead }
	await.Until(t, "peers see why the session can't read", func() bool { return seen() == why })
	sent := a.send("bob-session", "one")
	if want := "bob-session can't read messages (" + why + ")"; !strings.Contains(sent.Note, want) {
		t.Errorf("the sender is told %q, want %q", sent.Note, want)
	}
	status := a.awaitState(sent.ID, local.Delivered)
	await.Until(t, "the status says so", func() bool {
		a.must(local.VerbMessageStatus, local.MessageQuery{ID: sent.ID}, &status)
		return status.Recipients[0].Signed && status.Recipients[0].CannotRead == why
	})
	var peers local.Peers
	a.must(local.VerbPeers, local.PeersQuery{}, &peers)
	found := false
	for _, p := range peers.Peers {
		found = found || p.CannotRead == why && p.Key == b.key()
	}
	if !found || bob.status().Sessions[0].CannotRead != why {
		t.Errorf("peers: %+v; daemon: %+v", peers.Peers, bob.status().Sessions)
	}
	// Hooks do run, and the tool is attached.
	tool := b.attachTool()
	b.register()
	await.Until(t, "peers see that the session can read", func() bool { return seen() == "" })
	if got := b.texts(1); got[0] != "one" {
		t.Errorf("got %q", got)
	}
	a.awaitState(sent.ID, local.InContext)
	tool()
}

// attachTool acts as a process that offers the tool, until the caller calls the returned
// function.
func (p *program) attachTool() (end func()) {
	p.t.Helper()
	client, err := local.Session(p.u.dir, p.pid())
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	attached, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		_ = client.Wake(ctx, local.Wake{Path: local.PathTool, PID: p.pid()}, func(local.Woken) error {
			select {
			case attached <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	<-attached
	return func() { cancel(); <-ended }
}

// TestToolThatHasEnded checks that a running program without a tool, or whose tool has
// ended, can't read.
func TestToolThatHasEnded(t *testing.T) {
	t.Parallel()
	host := new(fakeHost)
	_, alice, bob := pair(t)
	alice.up()
	bob.up(func(o *Options) { o.Host = host })
	b := bob.session().connected()
	host.set(b.pid(), Published{SessionID: b.id, Status: wire.Idle})
	end := b.attachTool()
	end()
	await.Until(t, "peers see that the session's tool does not run", func() bool { return rowOf(alice, b.id).CannotRead == local.NoTool })
	end = b.attachTool()
	await.Until(t, "peers see that the tool is back", func() bool { return rowOf(alice, b.id).CannotRead == "" })
	// The program outlives its daemon.
	bob.down()
	bob.up(func(o *Options) { o.Host = host })
	b.connected()
	end()
	if why := rowOf(alice, b.id).CannotRead; why != "" {
		t.Errorf("after a restart of the daemon: %q", why)
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// daemonAsk is how long inbox waits for the daemon to answer.
	daemonAsk = 2 * time.Second
	// inboxPoll is how often inbox looks for messages that the daemon has stored.
	inboxPoll = 250 * time.Millisecond
	// daemonCheck is how often inbox --follow checks that the daemon still receives messages.
	daemonCheck = 2 * time.Second
	// daemonGrace is how long no daemon may run before inbox --follow receives the messages itself.
	// A newer daemon that replaces an older one needs less time to start.
	daemonGrace = 10 * time.Second
)

// daemonServes reports whether the daemon runs and receives the messages of the mesh.
// problem says why it isn't connected; it is "" if it is.
func (a *app) daemonServes(ctx context.Context, meshID string) (serves bool, problem string) {
	m, err := a.daemonMesh(ctx, meshID)
	if err != nil || m == nil {
		return false, "" // inbox works without the daemon
	}
	return true, daemonProblem(m)
}

// daemonMesh asks the daemon for its connection to a mesh. It returns nil if the daemon isn't in the
// mesh.
func (a *app) daemonMesh(ctx context.Context, meshID string) (*local.MeshStatus, error) {
	client, err := local.Owner(a.dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, daemonAsk)
	defer cancel()
	var status local.Status
	if err := client.Call(ctx, local.VerbStatus, nil, &status); err != nil {
		return nil, err
	}
	for i := range status.Meshes {
		if status.Meshes[i].MeshID == meshID {
			return &status.Meshes[i], nil
		}
	}
	return nil, nil
}

// daemonProblem says why the daemon isn't connected; it returns "" if it is.
func daemonProblem(m *local.MeshStatus) string {
	switch {
	case m.Connected:
		return ""
	case m.Error != "":
		return m.Error
	}
	return "it is connecting"
}

// errDaemonGone means that the daemon no longer receives the messages of the mesh.
var errDaemonGone = errors.New("the daemon no longer receives the messages of this mesh")

// readDaemon shows the messages that the daemon stores. It opens no connection of its own,
// which would take the member's messages away from the sessions. With --follow, it fails with
// errDaemonGone after the daemon has been gone for grace.
func (r *reader) readDaemon(ctx context.Context, problem string, grace time.Duration) error {
	r.tellProblem(problem)
	if err := r.show(ctx); err != nil || !r.flags.follow {
		return err
	}
	fmt.Fprintf(r.err, "The daemon receives the messages of %s; showing them as they arrive. Press Ctrl-C to stop.\n", oneLine(r.mesh.Slug))
	poll := time.NewTicker(inboxPoll)
	defer poll.Stop()
	checked := time.Now()
	seen := checked // when the daemon was there last
	for {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil // the user stopped it
		}
		if err := r.show(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		if time.Since(checked) < min(daemonCheck, grace) {
			continue
		}
		checked = time.Now()
		m, err := r.daemonMesh(ctx, r.mesh.MeshID)
		switch {
		case err == nil && m != nil:
			seen = checked
			if now := daemonProblem(m); now != problem {
				problem = now
				r.tellProblem(problem)
			}
		case err != nil && !errors.Is(err, local.ErrNotRunning):
			seen = checked // it runs, but is busy
		case time.Since(seen) >= grace:
			return errDaemonGone
		}
	}
}

// tellProblem says why the daemon isn't connected, if it isn't.
func (r *reader) tellProblem(problem string) {
	if problem != "" {
		fmt.Fprintln(r.err, "The daemon isn't connected to the broker:", printable(problem))
	}
}

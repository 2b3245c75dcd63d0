package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// daemonAsk is how long inbox waits for the daemon to answer.
	daemonAsk = 2 * time.Second
	// inboxPoll is how often inbox looks for messages that the daemon has stored.
	inboxPoll = 250 * time.Millisecond
)

// daemonServes reports whether the daemon runs and receives the messages of the mesh.
// problem says why it isn't connected; it is "" if it is.
func (a *app) daemonServes(ctx context.Context, meshID string) (serves bool, problem string) {
	client, err := local.Owner(a.dir)
	if err != nil {
		return false, ""
	}
	ctx, cancel := context.WithTimeout(ctx, daemonAsk)
	defer cancel()
	var status local.Status
	if client.Call(ctx, local.VerbStatus, nil, &status) != nil {
		return false, "" // the daemon has died: inbox works without it
	}
	for _, m := range status.Meshes {
		if m.MeshID != meshID {
			continue
		}
		if !m.Connected {
			problem = m.Error
			if problem == "" {
				problem = "it is connecting"
			}
		}
		return true, problem
	}
	return false, ""
}

// readDaemon shows the messages that the daemon stores. It opens no connection of its own,
// which would take the member's messages away from the sessions.
func (r *reader) readDaemon(ctx context.Context, problem string) error {
	if problem != "" {
		fmt.Fprintln(r.err, "The daemon isn't connected to the broker:", printable(problem))
	}
	if err := r.show(ctx); err != nil || !r.flags.follow {
		return err
	}
	fmt.Fprintf(r.err, "The daemon receives the messages of %s; showing them as they arrive. Press Ctrl-C to stop.\n", oneLine(r.mesh.Slug))
	poll := time.NewTicker(inboxPoll)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil // the user stopped it
		}
		if err := r.show(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

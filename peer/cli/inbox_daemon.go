package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// daemonAsk is how long inbox waits for a daemon to say that it serves a mesh.
	daemonAsk = 2 * time.Second
	// inboxPoll is how often inbox looks for what the daemon has stored.
	inboxPoll = 250 * time.Millisecond
)

// daemonServes reports whether the daemon of this directory runs and takes the mail
// of the mesh, and why it is not connected at the moment, if it is not.
func (a *app) daemonServes(ctx context.Context, meshID string) (serves bool, problem string) {
	client, err := local.Owner(a.dir)
	if err != nil {
		return false, ""
	}
	ctx, cancel := context.WithTimeout(ctx, daemonAsk)
	defer cancel()
	var status local.Status
	if client.Call(ctx, local.VerbStatus, nil, &status) != nil {
		return false, "" // a daemon that has died: inbox does without
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

// readDaemon shows what the daemon stores. A second connection of the member would
// only take its mail away from the sessions.
func (r *reader) readDaemon(ctx context.Context, problem string) error {
	if problem != "" {
		fmt.Fprintln(r.err, "The daemon is not connected to the broker:", printable(problem))
	}
	if err := r.show(ctx); err != nil || !r.flags.follow {
		return err
	}
	fmt.Fprintf(r.err, "The daemon takes the mail of %s; showing what comes. Ctrl-C stops.\n", oneLine(r.mesh.Slug))
	poll := time.NewTicker(inboxPoll)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil // stopped by hand
		}
		if err := r.show(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/identity"
)

func (a *app) sessionsRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rm <session>...",
		Short: "Remove the keys of sessions for good",
		Example: `  claudemesh sessions rm 0f8fad5b
  claudemesh sessions rm 0f8fad5b 7c9e6679 --mesh team`,
		Long: `Remove the keys of sessions, in all meshes, or in the mesh of --mesh. Give the id of each
session, or at least its first 8 characters. Messages that were sent to the session and not
yet fetched can never be opened again. If the session is resumed, it is a different peer.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.removeSessions(cmd.Context(), args, force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove the key even if the session is live")
	return cmd
}

func (a *app) removeSessions(ctx context.Context, names []string, force bool) error {
	list, err := a.storedSessions()
	if err != nil {
		return err
	}
	// Find all sessions first: a mistyped name must not stop the command halfway.
	chosen, err := chooseSessions(names, list)
	if err != nil {
		return err
	}
	if !force {
		live, err := liveSessions(ctx, a.dir)
		if err != nil {
			return fmt.Errorf("ask the daemon which sessions are live: %w; use --force to remove the keys anyway", err)
		}
		for _, s := range chosen {
			if _, ok := live[s.SessionID]; ok {
				return fmt.Errorf("session %s is live; end it first, or use --force", s.SessionID)
			}
		}
	}
	return a.deleteSessions(chosen)
}

// chooseSessions finds the sessions that the names mean, without duplicates.
func chooseSessions(names []string, list []identity.StoredSession) ([]identity.StoredSession, error) {
	var chosen []identity.StoredSession
	for _, name := range names {
		if len(name) < minSessionPrefix {
			return nil, usagef("%q is too short: give at least %d characters of the session's id", name, minSessionPrefix)
		}
		var found []identity.StoredSession
		for _, s := range list {
			if strings.HasPrefix(s.SessionID, strings.ToLower(name)) {
				found = append(found, s)
			}
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("remove session %q: this machine has no key of it; run `claudemesh sessions` to see them", name)
		}
		for _, s := range found {
			if s.SessionID != found[0].SessionID {
				return nil, fmt.Errorf("%q is ambiguous: it may be %s or %s; give more of the id", name, found[0].SessionID, s.SessionID)
			}
			if !slices.Contains(chosen, s) {
				chosen = append(chosen, s)
			}
		}
	}
	return chosen, nil
}

// deleteSessions removes the keys and prints each. It goes on after errors, and returns them
// all.
func (a *app) deleteSessions(chosen []identity.StoredSession) error {
	store := a.sessionStore()
	var failed []error
	for _, s := range chosen {
		if err := store.Remove(s.MeshSlug, s.SessionID); err != nil {
			failed = append(failed, err)
			continue
		}
		if _, err := fmt.Fprintln(a.out, "Removed", sessionText(s, time.Now())); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// sessionText describes a stored session.
func sessionText(s identity.StoredSession, now time.Time) string {
	key := "damaged"
	if s.Problem == "" {
		key = "key " + s.Pubkey.Short()
	}
	return fmt.Sprintf("%s in %s (%s, last used %s)", s.SessionID, s.MeshSlug, key, timeText(s.LastUsed, now))
}

func (a *app) sessionsPruneCommand() *cobra.Command {
	var olderThan duration
	var dryRun bool
	cmd := &cobra.Command{
		Use:     "prune --older-than <time>",
		Short:   "Remove the keys of sessions that were not used for a while",
		Long:    "Remove the keys of the sessions that were not used for that long and are not live.\nSee 'claudemesh sessions rm --help' for the consequences.",
		Example: "  claudemesh sessions prune --older-than 30d --dry-run\n  claudemesh sessions prune --older-than 30d --mesh team",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if olderThan == 0 {
				return usagef("--older-than is missing; for example: --older-than 30d")
			}
			return a.pruneSessions(cmd.Context(), time.Now().Add(-time.Duration(olderThan)), dryRun)
		},
	}
	cmd.Flags().Var(&olderThan, "older-than", "how long a session must be unused, e.g. 30d or 12h")
	cmd.Flags().Lookup("older-than").DefValue = ""
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would be removed")
	return cmd
}

func (a *app) pruneSessions(ctx context.Context, before time.Time, dryRun bool) error {
	list, err := a.storedSessions()
	if err != nil {
		return err
	}
	// Ask after listing, so that a session that starts in between counts as live.
	live, err := liveSessions(ctx, a.dir)
	if err != nil {
		return fmt.Errorf("ask the daemon which sessions are live: %w", err)
	}
	old := slices.DeleteFunc(list, func(s identity.StoredSession) bool {
		_, isLive := live[s.SessionID]
		return isLive || !s.LastUsed.Before(before)
	})
	if len(old) == 0 {
		_, err := fmt.Fprintln(a.out, "Nothing to remove.")
		return err
	}
	if !dryRun {
		return a.deleteSessions(old)
	}
	for _, s := range old {
		if _, err := fmt.Fprintln(a.out, "Would remove", sessionText(s, time.Now())); err != nil {
			return err
		}
	}
	return nil
}

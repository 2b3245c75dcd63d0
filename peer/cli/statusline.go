package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/claudecode/statusline"
	"github.com/claudemesh/claudemesh/peer/local"
)

// statuslineBudget is how long the daemon may take to answer: Claude Code often draws the
// status line, and waits for it.
const statuslineBudget = 15 * time.Millisecond

func (a *app) statuslineCommand() *cobra.Command {
	return a.forClaudeCode(&cobra.Command{
		Use:         "statusline",
		Short:       "Print the state of the mesh in one line, for the status line of Claude Code",
		Annotations: exits("0  always, so that a session is never blocked"),
		Example: `  claudemesh statusline < /dev/null
  COLUMNS=60 NO_COLOR=1 claudemesh statusline < /dev/null`,
		Long: `Print one line about the mesh of the Claude Code session that runs the command, such as

  mesh: 3 peers · 2 unread · ⚡ broker

The line fits into COLUMNS, if that is set, and is colored unless NO_COLOR is set. The
command never fails.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wantsHelp(args) {
				return cmd.Help()
			}
			a.statusline(cmd.Context())
			return nil
		},
	})
}

func (a *app) statusline(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statuslineBudget)
	defer cancel()
	// Claude Code expects the command to read its input, even if it needs none of it. Nothing
	// can interrupt the read, so its goroutine may live until the process exits.
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, a.in)
		close(read)
	}()
	columns, _ := strconv.Atoi(os.Getenv("COLUMNS")) // 0 means no limit
	line := statusline.Text(unread(ctx), statusline.Options{Columns: max(columns, 0), Color: os.Getenv("NO_COLOR") == ""})
	if line != "" {
		fmt.Fprintln(a.out, line)
	}
	select {
	case <-read:
	case <-ctx.Done():
	}
}

// unread asks the daemon for the session's state. It returns nil if the daemon doesn't answer.
func unread(ctx context.Context) *local.Unread {
	dir, err := peer.DefaultDir()
	if err != nil {
		return nil
	}
	pid := lineage.FromEnv()
	if os.Getenv(lineage.EnvPID) == "" { // a shell runs this command, not Claude Code itself
		if found, ok := lineage.Find(dir, os.Getpid(), os.Getenv(lineage.EnvSession)); ok {
			pid = found
		}
	}
	session, err := local.Session(dir, pid)
	if errors.Is(err, fs.ErrNotExist) {
		return &local.Unread{} // the daemon runs, but doesn't know this session
	}
	if err != nil {
		return nil
	}
	var u local.Unread
	err = session.Call(ctx, local.VerbUnread, nil, &u)
	var refused *local.Error
	switch {
	case errors.As(err, &refused):
		return &local.Unread{}
	case err != nil:
		return nil
	}
	return &u
}

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

// statuslineBudget is how long the daemon may take. Claude Code draws the line
// often, and waits for it.
const statuslineBudget = 15 * time.Millisecond

func (a *app) statuslineCommand() *cobra.Command {
	return forClaudeCode(&cobra.Command{
		Use:         "statusline",
		Short:       "Print the state of the mesh in one line, for the status line of Claude Code",
		Annotations: exits("0  always: a session must not be held up"),
		Example: `  claudemesh statusline < /dev/null
  COLUMNS=60 NO_COLOR=1 claudemesh statusline < /dev/null`,
		Long: `statusline prints one line on the mesh of the Claude Code session that runs it,
such as

  mesh: 3 peers · 2 unread · ⚡ broker

It fits into COLUMNS if that is set, has colours unless NO_COLOR is, and never fails.`,
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
	// Nothing of what Claude Code writes is needed, but it expects to be read.
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, a.in)
		close(read)
	}()
	columns, _ := strconv.Atoi(os.Getenv("COLUMNS")) // 0, that is, no limit, if there is none
	line := statusline.Text(unread(ctx), statusline.Options{Columns: max(columns, 0), Color: os.Getenv("NO_COLOR") == ""})
	if line != "" {
		fmt.Fprintln(a.out, line)
	}
	select {
	case <-read:
	case <-ctx.Done():
	}
}

// unread asks the daemon; nil when it does not answer.
func unread(ctx context.Context) *local.Unread {
	dir, err := peer.DefaultDir()
	if err != nil {
		return nil
	}
	pid := lineage.FromEnv()
	if os.Getenv(lineage.EnvPID) == "" { // a shell stands between
		if found, ok := lineage.Find(dir, os.Getpid(), os.Getenv(lineage.EnvSession)); ok {
			pid = found
		}
	}
	session, err := local.Session(dir, pid)
	if errors.Is(err, fs.ErrNotExist) {
		return &local.Unread{} // the daemon runs, but has not been told of this session
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

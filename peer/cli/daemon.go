package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer/claudecode/program"
	"github.com/claudemesh/claudemesh/peer/claudecode/published"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
)

// daemonTimeout is how long a daemon may take to come up or to go down.
const daemonTimeout = 15 * time.Second

func (a *app) daemonCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "Keep the sessions of this machine connected",
		Example: `  claudemesh daemon status
  claudemesh daemon logs --follow`,
		Long: `The daemon keeps this user's Claude Code sessions connected, and stores their messages
until they are read. It starts when it is needed; you don't have to set it up. If you
install it as a service, it starts at login, and receives your messages even if no session
runs.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(
		a.daemonUpCommand(), a.daemonDownCommand(), a.daemonStatusCommand(), a.daemonLogsCommand(), a.daemonRunCommand(),
		a.installServiceCommand(), a.uninstallServiceCommand(),
	)
	return cmd
}

// needsDaemon reports whether a command can't work without the daemon.
func needsDaemon(cmd *cobra.Command) bool {
	for ; cmd.HasParent(); cmd = cmd.Parent() {
		if !cmd.Parent().HasParent() {
			return slices.Contains([]string{"daemon", "launch", "install"}, cmd.Name())
		}
	}
	return false
}

func (a *app) daemonUpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "up", Short: "Start the daemon, or replace an older one", Args: cobra.NoArgs,
		Example: `  claudemesh daemon up
  claudemesh daemon down && claudemesh daemon up    # start afresh`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), daemonTimeout)
			defer cancel()
			defer a.waiting("waiting for the daemon to be ready").done()
			info, err := daemon.Start(ctx, daemon.StartOptions{Dir: a.dir, Build: local.OwnBuild(buildVersion())})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "The daemon is running (pid %d, version %s).\n", info.PID, oneLine(info.Build.Version))
			return err
		},
	}
}

func (a *app) daemonDownCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the daemon; its sessions leave their meshes", Args: cobra.NoArgs,
		Example: `  claudemesh daemon down
  claudemesh daemon down && claudemesh daemon up    # start afresh`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), daemonTimeout)
			defer cancel()
			defer a.waiting("waiting for the daemon to end").done()
			err := daemon.Stop(ctx, a.dir, true)
			if errors.Is(err, local.ErrNotRunning) {
				_, err = fmt.Fprintln(a.out, "The daemon is not running.")
				return err
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, "The daemon has stopped. It starts again when it is needed.")
			return err
		},
	}
}

func (a *app) daemonStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show what the daemon is connected to", Args: cobra.NoArgs,
		Annotations: exits(exitsDone, "1  the daemon isn't running, or doesn't answer", exitsUsage),
		Example: `  claudemesh daemon status
  claudemesh daemon status --json`,
		Long: `Show the daemon, its meshes and its sessions. The exit code is 1 if it isn't running.
--json: {pid, build {version, built}, started, outbox, meshes [{slug, meshId, broker, connected, error, unread}],
sessions [{sessionId, name, title, cwd, pids, status, reason, unread, wake, since, warnings,
meshes [{slug, key, connected, replaced, error}]}]}.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := a.daemonStatus(cmd.Context())
			if errors.Is(err, local.ErrNotRunning) {
				return fmt.Errorf("%w; start it with `claudemesh daemon up`", err)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(status)
			}
			return a.printDaemonStatus(&status)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) daemonStatus(ctx context.Context) (status local.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	if _, err := daemon.Reach(ctx, a.dir); err != nil {
		return status, err
	}
	client, err := local.Owner(a.dir)
	if err != nil {
		return status, err
	}
	return status, client.Call(ctx, local.VerbStatus, nil, &status)
}

func (a *app) printDaemonStatus(s *local.Status) error {
	now := time.Now()
	fmt.Fprintf(a.out, "Running since %s: pid %d, version %s. %s\n", timeText(s.Started, now), s.PID, oneLine(s.Build.Version), waitingText(s.Outbox))
	rows := [][]string{{"MESH", "BROKER", "CONNECTION", "MEMBER MAIL"}}
	for _, m := range s.Meshes {
		rows = append(rows, []string{m.Slug, m.Broker, connectionText(m.Connected, false, m.Error), unreadText(m.Unread)})
	}
	if err := a.table(rows); err != nil || len(s.Sessions) == 0 {
		return err
	}
	fmt.Fprintln(a.out)
	rows = [][]string{{"SESSION", "NAME", "PID", "STATUS", "MESH", "CONNECTION", "MAIL", "WOKEN BY", "DIRECTORY"}}
	for i := range s.Sessions {
		rows = append(rows, sessionRows(&s.Sessions[i])...)
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, one := range s.Sessions {
		for _, w := range one.Warnings {
			fmt.Fprintf(a.err, "warning: session %s: %s\n", oneLine(shortSession(one.SessionID)), printable(w))
		}
	}
	return nil
}

// sessionRows returns the table rows of a session, one for each mesh.
func sessionRows(s *local.SessionStatus) (rows [][]string) {
	pids := make([]string, len(s.PIDs))
	for i, pid := range s.PIDs {
		pids[i] = strconv.Itoa(pid)
	}
	head := []string{shortSession(s.SessionID), s.Name, strings.Join(pids, ","), explained(string(s.Status), s.Reason, s.CannotRead)}
	tail := []string{unreadText(s.Unread), s.Wake, s.Cwd}
	for _, m := range s.Meshes {
		row := append(append([]string{}, head...), m.Slug, connectionText(m.Connected, m.Replaced, m.Error))
		rows = append(rows, append(row, tail...))
		head, tail = make([]string, len(head)), make([]string, len(tail))
	}
	if len(rows) == 0 {
		rows = [][]string{append(append(head, "none", ""), tail...)}
	}
	return rows
}

func connectionText(connected, replaced bool, reason string) string {
	switch {
	case connected:
		return "connected"
	case replaced:
		return "conflict: another process has taken over this session; it reconnects at its next activity here"
	case reason != "":
		return "not connected: " + reason
	}
	return "connecting"
}

func unreadText(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n) + " unread"
}

func waitingText(n int) string {
	switch n {
	case 0:
		return "No message waits to be sent."
	case 1:
		return "1 message waits to be sent."
	}
	return strconv.Itoa(n) + " messages wait to be sent."
}

func (a *app) daemonRunCommand() *cobra.Command {
	var detached bool
	cmd := &cobra.Command{
		Use: "run", Short: "Run the daemon in the foreground", Args: cobra.NoArgs,
		Example: `  claudemesh daemon run
  CLAUDEMESH_CONFIG_DIR=/srv/mesh claudemesh daemon run`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDaemon(cmd.Context(), detached) },
	}
	cmd.Flags().BoolVar(&detached, "detached", false, "log only to the file")
	if err := cmd.Flags().MarkHidden("detached"); err != nil {
		panic(err) // the flag doesn't exist
	}
	return cmd
}

func (a *app) runDaemon(ctx context.Context, detached bool) error {
	if err := a.dir.Make(); err != nil {
		return err
	}
	file, err := daemon.OpenLog(a.dir.Path(daemon.LogName))
	if err != nil {
		return err
	}
	defer file.Close()
	var log io.Writer = file
	if !detached {
		log = io.MultiWriter(file, a.err)
	}
	config, err := program.ConfigDir()
	if err != nil {
		return err
	}
	return daemon.Run(ctx, daemon.Options{
		Dir: a.dir, Build: local.OwnBuild(buildVersion()), Host: published.Reader{ConfigDir: config},
		Log: slog.New(slog.NewTextHandler(visible.Writer(log), nil)),
	})
}

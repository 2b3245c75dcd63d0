package cli

import (
	"context"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// topPoll is how often top refreshes the state of this machine.
	topPoll = time.Second
	// topMail is the number of messages that top shows.
	topMail = 10
)

// topOptions selects what top shows.
type topOptions struct {
	all       bool // also members who are away
	peersOnly bool
}

func (a *app) topCommand() *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use: "top", Short: "Watch the mesh live: peers, sessions and messages", Args: cobra.NoArgs,
		Example: `  claudemesh top
  claudemesh top --all --mesh team`,
		Long: `Show the mesh live on the terminal, until you press q: the peers and their status; how many
messages are sent per minute (for the owner and admins), wait to be sent, and are unread;
your Claude Code sessions with their unread messages; and the newest messages in your inbox,
which stay unread. The arrow keys scroll, a also shows the members who are away, and ? lists
the keys.

If the broker is unreachable, top says so, keeps showing the last known state, and
reconnects. For a file or a pipe, use 'claudemesh peers --watch'.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !a.terminal {
				return usagef("top needs a terminal; use `claudemesh peers --watch` for a file or a pipe")
			}
			m, err := a.joined()
			if err != nil {
				return err
			}
			return a.showTop(cmd.Context(), m, o)
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "also show members who are away")
	return cmd
}

// showTop runs the live view until the user ends it or ctx does.
func (a *app) showTop(ctx context.Context, m peer.Mesh, o topOptions) error {
	store, err := inbox.Open(ctx, a.dir)
	if err != nil {
		return err
	}
	defer store.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A signal ends ctx, then the watch, and the watch quits the program. tea.WithContext
	// would close the terminal's input under the goroutine that reads it.
	program := tea.NewProgram(newTop(ctx, a, m, store, o), tea.WithInput(a.in), tea.WithOutput(a.out), tea.WithoutSignalHandler())
	watched := make(chan error, 1)
	go func() {
		err := a.watch(ctx, m, !o.peersOnly, func(v view) error { program.Send(v); return nil })
		program.Quit()
		watched <- err
	}()
	_, err = program.Run()
	cancel()
	return errors.Join(<-watched, err)
}

// localView is a snapshot of this machine's state.
type localView struct {
	daemon   *local.Status // nil if it doesn't run or answer
	unread   int
	lastHour int            // messages received in the last hour
	mail     []inbox.Stored // the newest messages, newest last
	err      error
	at       time.Time
}

// readLocal takes a snapshot of this machine's state. Bubble Tea calls it in a goroutine that it
// doesn't wait for: the end of t.ctx ends the call, and the closed inbox only makes it fail.
func (t *top) readLocal() tea.Msg {
	ctx, cancel := context.WithTimeout(t.ctx, liveTimeout)
	defer cancel()
	now := time.Now()
	v := localView{at: now}
	list, err := t.store.List(ctx, t.mesh.MeshID, inbox.ListOptions{All: true, Limit: topMail})
	v.mail, v.err = list, err
	if err == nil {
		v.unread, v.lastHour, v.err = t.store.Count(ctx, t.mesh.MeshID, now.Add(-time.Hour))
	}
	client, err := local.Owner(t.dir)
	var status local.Status
	if err == nil && client.Call(ctx, local.VerbStatus, nil, &status) == nil {
		v.daemon = &status
	}
	return v
}

// tick tells top to read the local state again.
type tick struct{}

func (t *top) wait() tea.Cmd { return tea.Tick(topPoll, func(time.Time) tea.Msg { return tick{} }) }

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
	// topPoll is how often top looks at what is on this machine.
	topPoll = time.Second
	// topMail is how many messages top shows.
	topMail = 10
)

// topOptions choose what top shows.
type topOptions struct {
	all       bool // members that are away, too
	peersOnly bool
}

func (a *app) topCommand() *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use: "top", Short: "Watch the mesh live: peers, sessions and messages", Args: cobra.NoArgs,
		Example: `  claudemesh top
  claudemesh top --all --mesh team`,
		Long: `Show the mesh on a terminal, up to date until you press q: who is there and in which status,
how many messages are sent a minute (for the owner and admins), wait to be sent and wait to
be read, your Claude Code sessions with their unread messages, and the newest messages of
your inbox, which stay unread. The arrow keys scroll, a shows the members that are away,
too, and ? explains the keys.

While the broker is away, top says so, shows what it heard last, and goes on when the
broker is back. For a file or a pipe see 'claudemesh peers --watch'.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !a.terminal {
				return usagef("top needs a terminal; `claudemesh peers --watch` does not")
			}
			m, err := a.joined()
			if err != nil {
				return err
			}
			return a.showTop(cmd.Context(), m, o)
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "members that are away too")
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
	program := tea.NewProgram(newTop(ctx, a, m, store, o), tea.WithContext(ctx), tea.WithInput(a.in), tea.WithOutput(a.out),
		tea.WithoutSignalHandler()) // ctx ends with the signals
	watched := make(chan error, 1)
	go func() {
		err := a.watch(ctx, m, !o.peersOnly, func(v view) error { program.Send(v); return nil })
		program.Quit()
		watched <- err
	}()
	_, err = program.Run()
	if ctx.Err() != nil && errors.Is(err, tea.ErrProgramKilled) {
		err = nil // stopped by a signal
	}
	cancel()
	return errors.Join(<-watched, err)
}

// localView is what is known on this machine.
type localView struct {
	daemon   *local.Status // nil: it does not run, or does not answer
	unread   int
	lastHour int            // messages that came
	mail     []inbox.Stored // the newest, newest last
	err      error
	at       time.Time
}

// lookAround reads what is known on this machine.
func (t *top) lookAround() tea.Msg {
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

// tick is the time to look around again.
type tick struct{}

func (t *top) wait() tea.Cmd { return tea.Tick(topPoll, func(time.Time) tea.Msg { return tick{} }) }

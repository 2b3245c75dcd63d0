package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// top is the Bubble Tea model of the live view.
type top struct {
	*app
	ctx   context.Context
	mesh  peer.Mesh
	store *inbox.Inbox
	o     topOptions

	width, height int
	offset        int // first visible line of the body
	help          bool
	view          view
	here          localView
}

func newTop(ctx context.Context, a *app, m peer.Mesh, store *inbox.Inbox, o topOptions) *top {
	own := *a // a copy, because its columns follow the window
	return &top{app: &own, ctx: ctx, mesh: m, store: store, o: o, width: 80, height: 24, view: view{mesh: m, flow: -1}}
}

// Init implements tea.Model.
func (t *top) Init() tea.Cmd { return t.readLocal }

// Update implements tea.Model.
func (t *top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		t.width, t.height = msg.Width, msg.Height
	case view:
		t.view = msg
	case localView:
		t.here = msg
		return t, t.wait()
	case tick:
		return t, t.readLocal
	case tea.KeyPressMsg:
		return t, t.press(msg.String())
	}
	return t, nil
}

// press handles a key.
func (t *top) press(key string) tea.Cmd {
	if t.help {
		t.help = false
		if key != "q" && key != "ctrl+c" {
			return nil
		}
	}
	page := max(t.room()-1, 1)
	switch key {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "?", "h":
		t.help = true
	case "a":
		t.o.all = !t.o.all
	case "down", "j":
		t.offset++
	case "up", "k":
		t.offset--
	case "pgdown", "space":
		t.offset += page
	case "pgup", "b":
		t.offset -= page
	case "home", "g":
		t.offset = 0
	case "end", "G":
		t.offset = len(t.body())
	}
	t.offset = t.scrolled(len(t.body()))
	return nil
}

// scrolled returns the offset, limited to the last page.
func (t *top) scrolled(lines int) int { return max(0, min(t.offset, lines-t.room())) }

// topHead and topFoot are the heights of the parts that don't scroll.
const (
	topHead = 3
	topFoot = 1
)

// room returns the height of the part that scrolls.
func (t *top) room() int { return max(t.height-topHead-topFoot, 1) }

// View implements tea.Model.
func (t *top) View() tea.View {
	v := tea.NewView(strings.Join(t.screen(time.Now()), "\n"))
	v.AltScreen = true
	v.WindowTitle = "claudemesh top"
	return v
}

// screen returns the lines of the screen.
func (t *top) screen(now time.Time) []string {
	t.columns = max(t.width, 1)
	body := t.body()
	if t.help {
		body = nil
		for key := range strings.SplitSeq(topKeys, "\n") {
			body = append(body, visible.Fit(key, t.columns))
		}
	}
	from := t.scrolled(len(body))
	shown := body[from:min(from+t.room(), len(body))]
	lines := append(t.head(now), shown...)
	for len(lines) < t.height-topFoot {
		lines = append(lines, "")
	}
	foot := "q quit · ? help · arrows scroll · a show members who are away"
	if hidden := len(body) - len(shown); hidden > 0 {
		foot = fmt.Sprintf("lines %d-%d of %d · ", from+1, from+len(shown), len(body)) + foot
	}
	lines = append(lines, t.paint(dim, visible.Fit(foot, t.columns)))
	return lines[:min(len(lines), max(t.height, 1))]
}

const topKeys = `
  q, Esc, Ctrl-C       quit
  Up, Down, j, k       scroll by a line
  PgUp, PgDn, Space    scroll by a page
  Home, End, g, G      go to the start, to the end
  a                    show or hide the members who are away
  ?                    show these keys; any key goes back

The messages shown here stay unread until you run 'claudemesh inbox'.`

// head returns the lines at the top.
func (t *top) head(now time.Time) []string {
	state := visible.Fit(t.view.connection(), t.columns)
	switch {
	case t.view.state.Connected && t.view.problem == "":
		state = t.paint(green, state)
	case t.view.state.Err != nil:
		state = t.paint(red, state)
	default:
		state = t.paint(yellow, state)
	}
	clock := now.Format(time.TimeOnly)
	title := visible.Fit("claudemesh · "+oneLine(t.mesh.Slug)+" · "+oneLine(t.mesh.BrokerURL), max(t.columns-len(clock)-1, 1))
	gap := strings.Repeat(" ", max(t.columns-visible.Columns(title)-len(clock), 1))
	return []string{t.paint(bold, title) + gap + t.paint(dim, clock), state, visible.Fit(t.counts(), t.columns)}
}

// counts returns the line with the numbers of peers and messages.
func (t *top) counts() string {
	states := map[wire.Status]int{}
	here := t.view.rows(false)
	for i := range here {
		states[here[i].Status]++
	}
	parts := []string{fmt.Sprintf("%d here", len(here))}
	for _, s := range []wire.Status{wire.Working, wire.Idle, wire.DND} {
		if states[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", states[s], s))
		}
	}
	if t.view.flow >= 0 {
		parts = append(parts, fmt.Sprintf("%d sent/min", t.view.flow))
	}
	if t.o.peersOnly {
		return strings.Join(parts, " · ")
	}
	parts = append(parts, fmt.Sprintf("%d unread", t.here.unread), fmt.Sprintf("%d in 1 h", t.here.lastHour))
	if d := t.here.daemon; d != nil {
		parts = append(parts, fmt.Sprintf("%d to send", d.Outbox))
	}
	return strings.Join(parts, " · ")
}

// body returns the lines that scroll.
func (t *top) body() []string {
	rows := t.view.rows(t.o.all)
	lines := t.section(fmt.Sprintf("Peers (%d)", len(rows)), peerTable(rows, t.mesh.Member.Public()), "KEY")
	if len(rows) == 0 && t.view.state.Connected {
		lines = append(lines, visible.Fit("Nobody is here. Messages to members who are away are queued.", t.columns))
	}
	if t.o.peersOnly {
		return lines
	}
	lines = append(lines, t.sessions()...)
	return append(lines, t.mail()...)
}

// section returns a title and the table below it, if the table isn't empty.
func (t *top) section(title string, table [][]string, whole ...string) []string {
	lines := []string{t.paint(bold, visible.Fit(title, t.columns))}
	if len(table) > 1 {
		lines = append(lines, t.tableLines(table, whole)...)
	}
	return lines
}

// sessions returns the section of the user's sessions on this machine.
func (t *top) sessions() []string {
	d := t.here.daemon
	if d == nil {
		says := "The daemon isn't running; Claude Code or `claudemesh daemon up` starts it."
		return append(append([]string{""}, t.section("Your sessions", nil)...), visible.Fit(says, t.columns))
	}
	table := [][]string{{"SESSION", "NAME", "STATUS", "MAIL", "CONNECTION", "DIRECTORY"}}
	n := 0
	for i := range d.Sessions {
		for _, m := range d.Sessions[i].Meshes {
			if m.Slug == t.mesh.Slug {
				table = append(table, topSession(&d.Sessions[i], &m))
				n++
			}
		}
	}
	return append([]string{""}, t.section(fmt.Sprintf("Your sessions (%d)", n), table, "SESSION")...)
}

func topSession(s *local.SessionStatus, m *local.SessionInMesh) []string {
	return []string{shortSession(s.SessionID), s.Name, explained(string(s.Status), s.Reason, s.CannotRead), unreadText(s.Unread), connectionText(m.Connected, m.Replaced, m.Error), s.Cwd}
}

// mail returns the section of the newest messages, newest first.
func (t *top) mail() []string {
	title := "Newest messages"
	if t.here.err != nil {
		title += ": " + oneLine(t.here.err.Error())
	}
	table := [][]string{{"TIME", "ID", "FROM", "TO", "", "TEXT"}}
	for i := len(t.here.mail) - 1; i >= 0; i-- {
		m := &t.here.mail[i]
		to, state, text := toText(m), "new", visible.Short(m.Body, visible.People, t.columns)
		if to == "" {
			to = "you"
		}
		if m.Read {
			state = "read"
		}
		switch {
		case m.Sealing == peer.Unopened:
			text = "can't be opened: " + m.Error
		case m.Sealing == peer.NotEncrypted:
			text = "[NOT ENCRYPTED] " + text
		case !m.Verified:
			text = "[" + notVerified(m.Doubt) + "] " + text
		}
		table = append(table, []string{timeText(m.CreatedAt, t.here.at), peer.ShortID(m.MessageID), m.From, to, state, text})
	}
	return append([]string{""}, t.section(title+" ("+strconv.Itoa(len(t.here.mail))+")", table, "TIME", "ID")...)
}

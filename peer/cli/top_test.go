package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// newTestTop makes a top of a mesh with n peers, two of which are away.
func newTestTop(t *testing.T, peers int) *top {
	t.Helper()
	m := peer.Mesh{Slug: "team", BrokerURL: "wss://mesh.example.org/ws"}
	shown := newTop(t.Context(), &app{}, m, nil, topOptions{})
	v := view{mesh: m, flow: -1, state: peer.State{Connected: true}, heard: time.Now()}
	for i := range peers {
		row := trustedRow{PeerRow: wire.PeerRow{Pubkey: wire.Key{byte(i)}, DisplayName: fmt.Sprintf("peer %02d", i), Status: wire.Idle, Online: true, Visible: true}, Verified: true}
		if i < 2 {
			row.Status = away
		}
		v.all = append(v.all, row)
	}
	shown.Update(v)
	return shown
}

func text(t *top) string { return strings.Join(t.screen(time.Now()), "\n") }

func press(t *testing.T, m *top, keys ...string) tea.Cmd {
	t.Helper()
	var cmd tea.Cmd
	for _, key := range keys {
		press := tea.KeyPressMsg{Text: key}
		if code, ok := map[string]rune{"up": tea.KeyUp, "down": tea.KeyDown, "pgdown": tea.KeyPgDown, "pgup": tea.KeyPgUp, "home": tea.KeyHome, "end": tea.KeyEnd, "esc": tea.KeyEscape}[key]; ok {
			press = tea.KeyPressMsg{Code: code}
		}
		_, cmd = m.Update(press)
	}
	return cmd
}

// TestTopFits checks that the screen fits the terminal at every size.
func TestTopFits(t *testing.T) {
	t.Parallel()
	m := newTestTop(t, 40)
	wide := strings.Repeat("長い👩🏽‍💻", 60)
	m.mesh.Slug = wide
	m.view.all[5].DisplayName, m.view.all[6].Summary = wide, &wide
	m.Update(localView{
		unread: 3, lastHour: 7, at: time.Now(),
		daemon: &local.Status{Outbox: 2, Sessions: []local.SessionStatus{{SessionID: "0123456789", Name: wide, Status: wire.Working, Unread: 4, Meshes: []local.SessionInMesh{{Slug: wide, Connected: true}}}}},
		mail:   []inbox.Stored{{MessageID: "0123456789ab", From: wide, Body: wide + "\n\x1b[2J", Sealing: peer.Direct, CreatedAt: time.Now()}},
	})
	for _, size := range [][2]int{{80, 24}, {200, 60}, {40, 10}, {20, 6}, {1, 1}} {
		m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		for _, key := range []string{"home", "pgdown", "end", "a", "?", "x"} {
			press(t, m, key)
			lines := m.screen(time.Now())
			if len(lines) > size[1] {
				t.Errorf("%v after %s: %d lines", size, key, len(lines))
			}
			for _, line := range lines {
				if n := visible.Columns(line); n > size[0] && size[0] >= 20 {
					t.Errorf("%v after %s: %d columns: %q", size, key, n, line)
				}
				if strings.ContainsAny(line, "\x1b\n") {
					t.Errorf("%v after %s: %q", size, key, line)
				}
			}
		}
	}
}

func TestTopKeys(t *testing.T) {
	t.Parallel()
	m := newTestTop(t, 40)
	if got := text(m); !strings.Contains(got, "38 here · 38 idle") || strings.Contains(got, "peer 00") || !strings.Contains(got, "peer 02") || strings.Contains(got, "peer 39") {
		t.Errorf("at first:\n%s", got)
	}
	press(t, m, "down", "down", "down")
	if got := text(m); strings.Contains(got, "peer 02") || !strings.Contains(got, "peer 03") || !strings.Contains(got, "lines 4-23 of") {
		t.Errorf("after three lines:\n%s", got)
	}
	press(t, m, "end")
	end := text(m)
	press(t, m, "down", "pgdown")
	if got := text(m); !strings.Contains(got, "Newest messages") || m.offset == 0 || len(got) != len(end) {
		t.Errorf("beyond the end:\n%s", got)
	}
	press(t, m, "home", "up", "pgup")
	if got := text(m); !strings.Contains(got, "Peers (38)") {
		t.Errorf("beyond the start:\n%s", got)
	}
	press(t, m, "a")
	if got := text(m); !strings.Contains(got, "Peers (40)") || !strings.Contains(got, "peer 00") || !strings.Contains(got, "38 here") {
		t.Errorf("with those that are away:\n%s", got)
	}
	v := m.view
	v.flow = 12
	m.Update(v)
	m.Update(localView{unread: 3, lastHour: 7, daemon: &local.Status{Outbox: 2}})
	if got := text(m); !strings.Contains(got, "38 here · 38 idle · 12 sent/min · 3 unread · 7 in 1 h · 2 to send\n") {
		t.Errorf("counts:\n%s", got)
	}
	press(t, m, "?")
	if got := text(m); !strings.Contains(got, "scroll by a page") || strings.Contains(got, "peer 02") {
		t.Errorf("help:\n%s", got)
	}
	if cmd := press(t, m, "x"); cmd != nil || !strings.Contains(text(m), "peer 02") {
		t.Errorf("back from help:\n%s", text(m))
	}
	for _, key := range []string{"q", "esc"} {
		if cmd := press(t, m, key); cmd == nil {
			t.Errorf("%s does not quit", key)
		} else if _, quits := cmd().(tea.QuitMsg); !quits {
			t.Errorf("%s does not quit", key)
		}
	}
}

func TestTopReportsProblems(t *testing.T) {
	t.Parallel()
	m := newTestTop(t, 3)
	if got := text(m); !strings.Contains(got, "\nconnected\n") || !strings.Contains(got, "The daemon isn't running") {
		t.Errorf("got\n%s", got)
	}
	v := m.view
	v.state = peer.State{Err: errors.New("no\x1b way"), RetryIn: time.Second}
	m.Update(v)
	if got := text(m); !strings.Contains(got, "NOT CONNECTED, last update ") || !strings.Contains(got, `: no\u{1B} way`) || !strings.Contains(got, "peer 02") {
		t.Errorf("got\n%s", got)
	}
	m.Update(view{state: peer.State{Connected: true}, problem: "can't check\x1b names"})
	if got := text(m); !strings.Contains(got, "\nconnected, but can't check\\u{1B} names\n") {
		t.Errorf("got\n%s", got)
	}
	m.Update(view{state: peer.State{}})
	if got := text(m); !strings.Contains(got, "\nconnecting\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestPerMinute(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(10_000_000)
	row := func(ago time.Duration, kind audit.Kind) wire.AuditRow {
		return wire.AuditRow{At: now.Add(-ago).UnixMilli(), Kind: string(kind)}
	}
	few := []wire.AuditRow{row(2*time.Minute, audit.Routed), row(50*time.Second, audit.PeerJoined), row(30*time.Second, audit.Routed), row(time.Second, audit.Routed)}
	many := make([]wire.AuditRow, flowEntries)
	for i := range many {
		many[i] = row(10*time.Second, audit.Routed)
	}
	for want, rows := range map[int][]wire.AuditRow{0: nil, 2: few, 6 * flowEntries: many} {
		if got := perMinute(rows, now); got != want {
			t.Errorf("%d entries: got %d, want %d", len(rows), got, want)
		}
	}
}

func TestPeerNews(t *testing.T) {
	t.Parallel()
	var out, errOut strings.Builder
	n := &peerNews{app: &app{out: &out, err: &errOut}, known: map[string]trustedRow{}}
	row := func(id byte, name string, status wire.Status) trustedRow {
		return trustedRow{PeerRow: wire.PeerRow{PresenceID: wire.ID{id}, Pubkey: wire.Key{id}, DisplayName: name, Status: status, Online: true, Visible: true}, Verified: true}
	}
	step := func(connected bool, want string, rows ...trustedRow) {
		t.Helper()
		out.Reset()
		if err := n.print(&view{all: rows, state: peer.State{Connected: connected, Err: errors.New("gone")}}, true); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			_, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			got = append(got, text)
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	bob, eve := row(1, "bob", wire.Idle), row(2, "e\x1bve", wire.Working)
	step(true, `01000000 bob is idle; 02000000 e\u{1B}ve is working`, bob, eve)
	step(true, "", bob, eve)
	step(false, "", bob, eve)
	if !strings.Contains(errOut.String(), "NOT CONNECTED: gone") {
		t.Errorf("said %q", errOut.String())
	}
	bob.Status = wire.Working
	step(true, `01000000 bob is working; 02000000 e\u{1B}ve has left`, bob)
	if !strings.Contains(errOut.String(), "Connected again.") {
		t.Errorf("said %q", errOut.String())
	}
	bob.Status = away
	step(true, "01000000 bob is away; 01000000 bob has left", bob)
	for range 3 {
		if err := n.print(&view{state: peer.State{Connected: true}, problem: "can't check names"}, true); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(errOut.String(), "warning: can't check names\n") != 1 {
		t.Errorf("said %q", errOut.String())
	}
}

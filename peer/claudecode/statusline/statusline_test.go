package statusline

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

func unread(peers, unread int, status wire.Status, connected bool) *local.Unread {
	return &local.Unread{Peers: peers, Unread: unread, Status: status, Connected: connected, Meshes: []string{"team"}}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		u    *local.Unread
		o    Options
		want string
	}{
		{"all", unread(3, 2, wire.Idle, true), Options{}, "mesh: 3 peers · 2 unread · ⚡ broker"},
		{"one peer", unread(1, 1, wire.Working, true), Options{}, "mesh: 1 peer · 1 unread · ⚡ broker"},
		{"nobody", unread(0, 0, wire.Idle, true), Options{}, "mesh: 0 peers · ⚡ broker"},
		{"nothing unread", unread(3, 0, wire.Idle, true), Options{}, "mesh: 3 peers · ⚡ broker"},
		{"very many", unread(1000, 12345, wire.Idle, true), Options{}, "mesh: 999+ peers · 999+ unread · ⚡ broker"},
		{"dnd", unread(3, 2, wire.DND, true), Options{}, "mesh: 3 peers · 2 unread · dnd · ⚡ broker"},
		{"disconnected", unread(3, 2, wire.Idle, false), Options{}, "mesh: 2 unread · ✗ no broker"},
		{"disconnected, nothing unread", unread(3, 0, wire.Idle, false), Options{}, "mesh: ✗ no broker"},
		{"disconnected in dnd", unread(3, 0, wire.DND, false), Options{}, "mesh: dnd · ✗ no broker"},
		{"no daemon", nil, Options{}, "mesh: daemon is off"},
		{"in no mesh", &local.Unread{Connected: true}, Options{}, "mesh: not in a mesh"},
		{"just fits", unread(3, 2, wire.Idle, true), Options{Columns: 36}, "mesh: 3 peers · 2 unread · ⚡ broker"},
		{"without the broker", unread(3, 2, wire.Idle, true), Options{Columns: 35}, "mesh: 3 peers · 2 unread"},
		{"without the peers", unread(3, 2, wire.DND, true), Options{Columns: 23}, "mesh: 2 unread · dnd"},
		{"only unread", unread(3, 2, wire.DND, true), Options{Columns: 19}, "mesh: 2 unread"},
		{"no broker goes before dnd", unread(3, 2, wire.DND, false), Options{Columns: 30}, "mesh: 2 unread · ✗ no broker"},
		{"no room", unread(3, 2, wire.Idle, true), Options{Columns: 13}, ""},
		{"no room at all", nil, Options{Columns: 1, Color: true}, ""},
		{"colors", unread(3, 2, wire.DND, true), Options{Color: true},
			"mesh: 3 peers · \x1b[33m2 unread\x1b[0m · \x1b[2mdnd\x1b[0m · \x1b[32m⚡ broker\x1b[0m"},
		{"colors take no room", unread(3, 2, wire.Idle, true), Options{Columns: 36, Color: true},
			"mesh: 3 peers · \x1b[33m2 unread\x1b[0m · \x1b[32m⚡ broker\x1b[0m"},
		{"no broker is red", unread(3, 0, wire.Idle, false), Options{Color: true}, "mesh: \x1b[31m✗ no broker\x1b[0m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Text(tt.u, tt.o); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestWidths checks that the line fits any width, and a wider terminal never shows less.
func TestWidths(t *testing.T) {
	t.Parallel()
	sgr := regexp.MustCompile("\x1b\\[[0-9]*m")
	for _, u := range []*local.Unread{nil, {}, unread(3, 2, wire.DND, true), unread(3, 2000, wire.DND, false), unread(0, 0, wire.Idle, true)} {
		before := ""
		for columns := 1; columns < 60; columns++ {
			painted := Text(u, Options{Columns: columns, Color: true})
			got := sgr.ReplaceAllString(painted, "")
			if got != Text(u, Options{Columns: columns}) {
				t.Errorf("%d columns: colors change the text: %q", columns, painted)
			}
			if n := utf8.RuneCountInString(got) + strings.Count(got, "⚡"); n > columns {
				t.Errorf("%q has %d columns, want at most %d", got, n, columns)
			}
			if len(got) < len(before) {
				t.Errorf("%d columns show %q, less than one column fewer shows: %q", columns, got, before)
			}
			before = got
		}
		if before != Text(u, Options{}) {
			t.Errorf("with room %q, without a limit %q", before, Text(u, Options{}))
		}
	}
}

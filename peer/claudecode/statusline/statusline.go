// Package statusline formats the status line of a session, such as
//
//	mesh: 3 peers · 2 unread · ⚡ broker
//
// It is one pure function. The line contains no text from peers.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package statusline

import (
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	prefix    = "mesh: "
	separator = " · "
	maxCount  = 999 // larger numbers are shown as 999+
)

// Colors, as SGR parameters.
const (
	plain  = ""
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// Options control the format of the line.
type Options struct {
	Columns int  // width of the terminal; 0 means no limit
	Color   bool // use SGR escapes
}

// part is a piece of the line. If not all parts fit, those with the lowest rank are left out.
type part struct {
	text, color string
	rank        int
}

// Text returns the line, without a line break. u is the daemon's answer, or nil if it doesn't
// answer. Text leaves out the least important parts until the line fits into o.Columns; the
// line may become empty.
func Text(u *local.Unread, o Options) string {
	parts := partsOf(u)
	for o.Columns > 0 && width(parts) > o.Columns {
		if len(parts) == 0 {
			return ""
		}
		least := 0
		for i := range parts {
			if parts[i].rank < parts[least].rank {
				least = i
			}
		}
		parts = append(parts[:least], parts[least+1:]...)
	}
	if len(parts) == 0 {
		return ""
	}
	painted := make([]string, len(parts))
	for i, p := range parts {
		painted[i] = p.text
		if o.Color && p.color != plain {
			painted[i] = "\x1b[" + p.color + "m" + p.text + "\x1b[0m"
		}
	}
	return prefix + strings.Join(painted, separator)
}

func partsOf(u *local.Unread) []part {
	if u == nil {
		return []part{{"daemon is off", dim, 1}}
	}
	if len(u.Meshes) == 0 {
		return []part{{"not in a mesh", dim, 1}}
	}
	var parts []part
	if u.Connected { // otherwise the number of peers is unknown
		parts = append(parts, part{count(u.Peers, "peer", "peers"), plain, 2})
	}
	if u.Unread > 0 {
		parts = append(parts, part{count(u.Unread, "unread", "unread"), yellow, 5})
	}
	if u.Status == wire.DND {
		parts = append(parts, part{"dnd", dim, 3})
	}
	if u.Connected {
		return append(parts, part{"⚡ broker", green, 1})
	}
	return append(parts, part{"✗ no broker", red, 4})
}

func count(n int, one, many string) string {
	switch {
	case n == 1:
		return "1 " + one
	case n > maxCount:
		return fmt.Sprintf("%d+ %s", maxCount, many)
	}
	return fmt.Sprintf("%d %s", n, many)
}

// width returns the width of the line in columns.
func width(parts []part) int {
	n := visible.Columns(prefix) + visible.Columns(separator)*(len(parts)-1)
	for _, p := range parts {
		n += visible.Columns(p.text)
	}
	return n
}

package cli

import (
	"fmt"
	"math"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// duration is a flag for a positive duration, in days (7d) or in Go's units (12h, 90m).
type duration time.Duration

// Set reads the flag.
func (d *duration) Set(s string) error {
	v, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		if n*24 > math.MaxInt64/float64(time.Hour) {
			return fmt.Errorf("%s is too long", s)
		}
		v = time.Duration(n * 24 * float64(time.Hour))
	}
	if err != nil || v <= 0 {
		return fmt.Errorf("%q isn't a positive duration such as 7d, 12h or 90m", s)
	}
	*d = duration(v)
	return nil
}

// String returns whole days as 7d.
func (d *duration) String() string {
	v := time.Duration(*d)
	if day := 24 * time.Hour; v >= day && v%day == 0 {
		return strconv.FormatInt(int64(v/day), 10) + "d"
	}
	return v.String()
}

// Type names the kind of value in help texts.
func (d *duration) Type() string { return "duration" }

// groupNames parses a list of group names, with or without '@'.
func groupNames(names []string) ([]wire.Group, error) {
	var groups []wire.Group
	for _, name := range names {
		name = strings.TrimPrefix(strings.TrimSpace(name), "@")
		if !wire.ValidGroup(name) {
			return nil, usagef("%q isn't a valid group name", name)
		}
		groups = append(groups, wire.Group{Name: name})
	}
	return groups, nil
}

// userName returns the default display name: the user's name on this machine, or the host
// name.
func userName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return visible.Cut(u.Username, wire.MaxNameLen, visible.Bytes)
	}
	if name := os.Getenv("USER"); name != "" {
		return visible.Cut(name, wire.MaxNameLen, visible.Bytes)
	}
	host, _ := os.Hostname()
	return visible.Cut(host, wire.MaxNameLen, visible.Bytes)
}

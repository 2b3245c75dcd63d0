package cli

import (
	"fmt"
	"strings"
	"time"
)

// moment is a flag for a time in the past.
type moment struct{ time.Time }

// sinceHelp is the help text of --since.
const sinceHelp = "only since then: 2h, 7d, today, yesterday, 2006-01-02 or '2006-01-02 15:04'"

// Set reads the flag, in the local zone.
func (m *moment) Set(s string) (err error) {
	m.Time, err = parseMoment(s, time.Now())
	return err
}

func parseMoment(s string, now time.Time) (time.Time, error) {
	now = now.Local()
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.Local)
	switch strings.ToLower(s) {
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	}
	var ago duration
	if ago.Set(s) == nil {
		return now.Add(-time.Duration(ago)), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q isn't a time; use one such as 2h, 7d, today, yesterday, 2006-01-02 or '2006-01-02 15:04'", s)
}

// String returns a text that Set accepts.
func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// Type names the kind of value in help texts.
func (m *moment) Type() string { return "time" }

// timeText formats t in local time, relative to today if t is at most a day away.
func timeText(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	switch t.Format(time.DateOnly) {
	case now.Format(time.DateOnly):
		return t.Format("15:04:05")
	case now.AddDate(0, 0, -1).Format(time.DateOnly):
		return "yesterday " + t.Format("15:04")
	case now.AddDate(0, 0, 1).Format(time.DateOnly):
		return "tomorrow " + t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// ago says how long ago t was, in the largest unit that fits.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= unit.size {
			return fmt.Sprintf("%d %s ago", d/unit.size, unit.name)
		}
	}
	return "now"
}

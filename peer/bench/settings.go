package bench

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/claudemesh/claudemesh/peer"
)

// Kind is what a run measures.
type Kind string

// The kinds of runs.
const (
	Throughput Kind = "throughput" // as many messages as go through
	Rate       Kind = "rate"       // latency at a fixed rate
	Burst      Kind = "burst"      // everybody sends everything at once
	Fanout     Kind = "fanout"     // one message to many
	Idle       Kind = "idle"       // sessions that do nothing
	Storm      Kind = "storm"      // all connections drop and come back at once
	Soak       Kind = "soak"       // a fixed rate for long
)

// Duration is a time.Duration that JSON writes as text, e.g. "10s".
type Duration time.Duration

// String writes the duration in Go's units.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the duration in Go's units.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration in Go's units.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Settings say how much load there is. Two results can be compared when theirs are
// the same. Fields that a kind has no use for are zero.
type Settings struct {
	Pairs      int      `json:"pairs,omitempty"`      // senders, each with a recipient of its own
	Window     int      `json:"window,omitempty"`     // throughput: messages of a pair under way at once
	Resend     bool     `json:"resend,omitempty"`     // throughput: a refusal is followed by the next message at once, not after a pause
	Peers      int      `json:"peers,omitempty"`      // burst
	Recipients int      `json:"recipients,omitempty"` // fanout
	Sessions   int      `json:"sessions,omitempty"`   // idle, storm
	Parallel   int      `json:"parallel,omitempty"`   // idle: connects under way at once
	Messages   int      `json:"messages,omitempty"`   // throughput, fanout: in all; burst: per peer
	Rate       float64  `json:"rate,omitempty"`       // messages per second, all pairs together
	Size       int      `json:"size,omitempty"`       // bytes of a body before it is sealed
	Crypto     bool     `json:"crypto,omitempty"`     // seal and open for real
	Duration   Duration `json:"duration,omitzero"`    // of sending; idle: of holding the sessions
	Interval   Duration `json:"interval,omitzero"`    // soak: what one line is about
	Timeout    Duration `json:"timeout,omitzero"`     // for what is still under way at the end
}

// Defaults returns settings that make sense for a broker on this machine.
func Defaults(k Kind) Settings {
	s := Settings{Size: 1024, Timeout: Duration(time.Minute)}
	switch k {
	case Throughput:
		s.Pairs, s.Window, s.Duration = 50, 32, Duration(10*time.Second)
	case Rate:
		s.Pairs, s.Rate, s.Duration = 10, 200, Duration(30*time.Second)
	case Burst:
		s.Peers, s.Messages, s.Timeout = 100, 100, Duration(15*time.Minute)
	case Fanout:
		s.Recipients, s.Messages = 1000, 20
	case Idle:
		s = Settings{Sessions: 1000, Parallel: 64, Duration: Duration(time.Minute)}
	case Storm:
		s.Sessions, s.Pairs, s.Rate = 1000, 50, 200
	case Soak:
		s.Pairs, s.Rate, s.Duration, s.Interval = 10, 200, Duration(time.Hour), Duration(time.Minute)
	}
	return s
}

// SettingError tells which setting can't be used.
type SettingError struct {
	Name string // as in JSON
	Want string // what it must be
}

func (e *SettingError) Error() string { return e.Name + " must be " + e.Want }

// maxSize is what a body may have: more than any broker takes.
const maxSize = 16 << 20

// Validate returns a *SettingError for the first setting that a run of this kind
// can't have.
func (s *Settings) Validate(k Kind) error {
	messages := k != Idle
	for _, c := range []struct {
		name         string
		needed       bool
		value        int
		least, limit int
	}{
		{"pairs", k == Throughput || k == Rate || k == Soak || k == Storm, s.Pairs, 1, 100_000},
		{"window", k == Throughput, s.Window, 1, 100_000},
		{"peers", k == Burst, s.Peers, 2, 100_000}, // one would have nobody to send to
		{"recipients", k == Fanout, s.Recipients, 1, 100_000},
		{"sessions", k == Idle || k == Storm, s.Sessions, 1, 1_000_000},
		{"parallel", k == Idle, s.Parallel, 1, 10_000},
		{"messages", k == Burst || k == Fanout || k == Throughput && s.Duration == 0, s.Messages, 1, 1_000_000_000},
		{"size", messages, s.Size, 1, maxSize},
	} {
		if c.needed && (c.value < c.least || c.value > c.limit) {
			return &SettingError{c.name, fmt.Sprintf("%d to %d", c.least, c.limit)}
		}
	}
	switch {
	case (k == Rate || k == Soak || k == Storm) && !(s.Rate > 0 && s.Rate <= 10_000_000):
		return &SettingError{"rate", "more than 0 and at most 10,000,000 a second"}
	case k == Storm && 2*s.Pairs > s.Sessions:
		return &SettingError{"pairs", "at most half of the sessions"}
	case (k == Rate || k == Soak) && s.Duration == 0, s.Duration < 0:
		return &SettingError{"duration", "longer than 0"}
	case k == Soak && (s.Interval <= 0 || s.Interval > s.Duration):
		return &SettingError{"interval", "longer than 0 and at most the duration"}
	case messages && s.Timeout <= 0:
		return &SettingError{"timeout", "longer than 0"}
	}
	return nil
}

// Config says against which broker a run goes and who hears of it. Mesh is required.
type Config struct {
	// Mesh holds the broker's URL and the credentials of the member whose sessions
	// the load is.
	Mesh peer.Mesh
	// Sender is another member of the same mesh, who sends in a Fanout. Zero: a guest
	// is invited, and removed when the run ends; Mesh's member must be an admin.
	Sender peer.Mesh
	// HTTPClient makes the connections; nil means http.DefaultClient.
	HTTPClient *http.Client
	// Broker reads the broker's own figures, about once a second; nil: unknown.
	Broker Gauge
	// Collect makes the broker collect its garbage, before an Idle run reads its memory;
	// nil: it does so when it likes.
	Collect func(context.Context) error
	// OnProgress is called about once a second while messages are sent, and must
	// return quickly. It is never called after Run has returned.
	OnProgress func(Progress)
	// OnInterval is called for every interval of a Soak, under the same rules.
	OnInterval func(Interval)
}

// Progress tells how a run stands.
type Progress struct {
	Phase     string        // what is being done, in a word or two
	Elapsed   time.Duration // since the phase began
	Sessions  int           // that are connected
	Sent      uint64        // messages handed to the broker
	Delivered uint64        // deliveries, each message once per recipient
	Refused   uint64        // messages that the broker did not take
	Rate      float64       // deliveries per second since the progress before
	P50, P99  time.Duration // send→push since the progress before
	Memory    int64         // resident bytes of the broker; 0: unknown
}

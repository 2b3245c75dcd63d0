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
	Throughput Kind = "throughput" // as many messages as the broker accepts
	Rate       Kind = "rate"       // latency at a fixed rate
	Burst      Kind = "burst"      // all sessions send everything at once
	Fanout     Kind = "fanout"     // one message to many recipients
	Idle       Kind = "idle"       // idle sessions
	Storm      Kind = "storm"      // all connections drop and reconnect at once
	Soak       Kind = "soak"       // a fixed rate for a long time
)

// Duration is a time.Duration that JSON encodes as text, such as "10s".
type Duration time.Duration

// String formats the duration like time.Duration.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText formats the duration like time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses a duration like time.ParseDuration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Settings describe the load. Two results are comparable if their settings are the same.
// Fields that a kind doesn't use are zero.
type Settings struct {
	Pairs      int      `json:"pairs,omitempty"`      // number of senders, each with its own recipient
	Window     int      `json:"window,omitempty"`     // throughput: messages in flight per pair
	Resend     bool     `json:"resend,omitempty"`     // throughput: send the next message at once after a refusal, without a pause
	Peers      int      `json:"peers,omitempty"`      // burst: number of sessions
	Recipients int      `json:"recipients,omitempty"` // fanout: number of sessions in the group
	Sessions   int      `json:"sessions,omitempty"`   // idle, storm: number of sessions
	Parallel   int      `json:"parallel,omitempty"`   // idle: number of sessions that connect at the same time
	Messages   int      `json:"messages,omitempty"`   // throughput, fanout: total; burst: per peer
	Rate       float64  `json:"rate,omitempty"`       // messages per second, all pairs together
	Size       int      `json:"size,omitempty"`       // bytes of a body before it is sealed
	Crypto     bool     `json:"crypto,omitempty"`     // really seal and open bodies
	Duration   Duration `json:"duration,omitzero"`    // of sending; idle: of holding the sessions
	Interval   Duration `json:"interval,omitzero"`    // soak: time between two lines
	Timeout    Duration `json:"timeout,omitzero"`     // for messages that are in flight at the end
}

// Defaults returns settings for a broker on this machine.
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

// SettingError means that a setting has an invalid value.
type SettingError struct {
	Name string // as in JSON
	Want string // what it must be
}

func (e *SettingError) Error() string { return e.Name + " must be " + e.Want }

// maxSize is the maximum size of a body. No broker accepts more.
const maxSize = 16 << 20

// maxFrame is the maximum size of a frame that a session reads: sealed, in base64 and JSON, a body of
// maxSize takes less than one and a half times its size.
const maxFrame = 2 * maxSize

// Validate returns a *SettingError for the first invalid setting of a run of this kind.
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
		{"peers", k == Burst, s.Peers, 2, 100_000}, // a single peer has no recipient
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
		return &SettingError{"rate", "more than 0 and at most 10,000,000 per second"}
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

// Config names the broker of a run and the callbacks. Mesh is required.
type Config struct {
	// Mesh contains the broker's URL, and the credentials of the member that the sessions of
	// the load belong to.
	Mesh peer.Mesh
	// Sender is another member of the same mesh, which sends in a Fanout. If it is zero, Run
	// invites a guest and removes it at the end; for that, Mesh's member must be an admin.
	Sender peer.Mesh
	// HTTPClient makes the connections; nil means http.DefaultClient.
	HTTPClient *http.Client
	// Broker reads the broker's own figures, about once a second. It may be nil.
	Broker Gauge
	// Collect makes the broker collect its garbage before an Idle run reads its memory. It may
	// be nil.
	Collect func(context.Context) error
	// OnProgress is called about once a second while messages are sent, and must return
	// quickly. It is never called after Run has returned. It may be nil.
	OnProgress func(Progress)
	// OnInterval is called for every interval of a Soak, under the same rules.
	OnInterval func(Interval)
}

// Progress is the state of a run.
type Progress struct {
	Phase     string        // what the run is doing, in a few words
	Elapsed   time.Duration // since the phase began
	Sessions  int           // connected sessions
	Sent      uint64        // messages sent to the broker
	Delivered uint64        // deliveries, one per message and recipient
	Refused   uint64        // messages that the broker has refused
	Rate      float64       // deliveries per second since the previous Progress
	P50, P99  time.Duration // send→push since the previous Progress
	Memory    int64         // resident memory of the broker in bytes; 0 if unknown
}

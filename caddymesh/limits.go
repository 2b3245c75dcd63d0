package caddymesh

import (
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/claudemesh/claudemesh/broker"
)

// Limits are the limits and timings of a broker. Handlers with the same storage share one
// broker and must agree on them. Zero means the default.
type Limits struct {
	// The maximum size of a message in bytes: ciphertext, nonce and target
	// together. A frame may be 4 times as long. 1024 to 16777216. Default: 65536.
	MaxMessageBytes int `json:"max_message_bytes,omitempty"`

	// The number of messages that a member may send per minute on average; at
	// least 1. Default: 600.
	SendRatePerMin int `json:"send_rate_per_min,omitempty"`

	// The number of messages that a member may send at once; at least 1.
	// Default: 100.
	SendBurst int `json:"send_burst,omitempty"`

	// The work that a member's connections in a mesh may cause per minute on average.
	// One unit is about ten microseconds of processor time: the smallest frame costs 1,
	// a roster of 1,000 presences 250, each further recipient of a message 4. A member
	// over the limit first waits; then the broker refuses its requests. At least 60.
	// Default: 240000.
	WorkPerMin int `json:"work_per_min,omitempty"`

	// The units of work that a member may cause at once; at least 1000.
	// Default: 5000.
	WorkBurst int `json:"work_burst,omitempty"`

	// The number of new sessions that a member may start per hour, and at once; at
	// least 1. A session that the broker knows doesn't count. Default: 1000.
	NewSessionsPerHour int `json:"new_sessions_per_hour,omitempty"`

	// The maximum number of connections in a mesh, including leased presences. 1 to
	// 1000000. Default: 10000.
	MaxConnectionsPerMesh int `json:"max_connections_per_mesh,omitempty"`

	// The maximum number of members in a mesh; removed members don't count. 1 to
	// 1000000. Default: 10000.
	MaxMembersPerMesh int `json:"max_members_per_mesh,omitempty"`

	// The maximum size in bytes of a mesh's queue, which holds the messages for
	// recipients that are away. A message counts with its nonce and ciphertext, plus
	// 1024, plus 320 for each of its recipients. 1048576 to 1125899906842624.
	// Default: 4294967296.
	MaxQueueBytesPerMesh int64 `json:"max_queue_bytes_per_mesh,omitempty"`

	// The number of hook posts that the broker accepts per minute, and at once, from
	// one process in one directory. 1 to 1000000. Default: 30.
	HookRateLimitPerMin int `json:"hook_rate_limit_per_min,omitempty"`

	// How long a session stays in the status working without a sign of life before the
	// broker sets it to idle. 1s to 24h. Default: 60s.
	StatusTTL caddy.Duration `json:"status_ttl,omitempty"`

	// How long a status from a hook takes precedence over the same status from a less
	// reliable source. 1s to 24h. Default: 30s.
	HookFreshWindow caddy.Duration `json:"hook_fresh_window,omitempty"`

	// How long a presence survives its connection. If the peer reconnects within this
	// time, other peers don't notice. 1s to 24h. Default: 90s.
	PresenceLease caddy.Duration `json:"presence_lease,omitempty"`

	// How long the broker waits for the recipient's acknowledgement before it
	// redelivers a message. The time doubles with each redelivery, up to an hour, until
	// the recipient acknowledges a message or reconnects. 1s to 24h. Default: 30s.
	DeliveryLease caddy.Duration `json:"delivery_lease,omitempty"`

	// How long the broker keeps a message for recipients that are away. 1m to 366
	// days. Default: 7d.
	MessageRetention caddy.Duration `json:"message_retention,omitempty"`

	// How long the broker keeps an entry of the audit log. The log stays verifiable after
	// older entries are deleted. 1 to 36500 days. Default: 36500d, which deletes nothing.
	AuditRetention caddy.Duration `json:"audit_retention,omitempty"`

	// How long a new connection may take to send its hello. 1s to 1m. Default: 10s.
	HelloTimeout caddy.Duration `json:"hello_timeout,omitempty"`

	// The time between the broker's pings. It must be shorter than pong_timeout and
	// than the idle timeout of any proxy in between. 1s to 1h. Default: 30s.
	PingInterval caddy.Duration `json:"ping_interval,omitempty"`

	// How long a connection may stay silent before the broker closes it. 2s to 2h.
	// Default: 75s.
	PongTimeout caddy.Duration `json:"pong_timeout,omitempty"`
}

// option maps a limit's name to its fields in Limits and in broker.Settings.
type option struct {
	name     string
	period   bool   // whether the limit is a duration, in nanoseconds; else it is a count
	given    number // the field in Limits; 0 means not set
	inEffect number // the field in broker.Settings
}

// number is a field that holds a number of any type.
type number interface {
	get() int64
	set(n int64) bool // returns whether n fits
}

type place[N ~int | ~int64] struct{ p *N }

func (v place[N]) get() int64 { return int64(*v.p) }

func (v place[N]) set(n int64) bool {
	*v.p = N(n)
	return int64(*v.p) == n
}

func count[N int | int64](name string, given, inEffect *N) option {
	return option{name, false, place[N]{given}, place[N]{inEffect}}
}

func period(name string, given *caddy.Duration, inEffect *time.Duration) option {
	return option{name, true, place[caddy.Duration]{given}, place[time.Duration]{inEffect}}
}

// text returns the value in effect as in a Caddyfile.
func (o option) text() string {
	if o.period {
		return time.Duration(o.inEffect.get()).String()
	}
	return strconv.FormatInt(o.inEffect.get(), 10)
}

// options lists every limit once. All code that handles each limit uses this list.
func options(l *Limits, s *broker.Settings) []option {
	return []option{
		count("max_message_bytes", &l.MaxMessageBytes, &s.MaxMessageBytes),
		count("send_rate_per_min", &l.SendRatePerMin, &s.SendRatePerMin),
		count("send_burst", &l.SendBurst, &s.SendBurst),
		count("work_per_min", &l.WorkPerMin, &s.WorkPerMin),
		count("work_burst", &l.WorkBurst, &s.WorkBurst),
		count("new_sessions_per_hour", &l.NewSessionsPerHour, &s.NewSessionsPerHour),
		count("max_connections_per_mesh", &l.MaxConnectionsPerMesh, &s.MaxConnectionsPerMesh),
		count("max_members_per_mesh", &l.MaxMembersPerMesh, &s.MaxMembersPerMesh),
		count("max_queue_bytes_per_mesh", &l.MaxQueueBytesPerMesh, &s.MaxQueueBytesPerMesh),
		count("hook_rate_limit_per_min", &l.HookRateLimitPerMin, &s.HookRateLimitPerMin),
		period("status_ttl", &l.StatusTTL, &s.StatusTTL),
		period("hook_fresh_window", &l.HookFreshWindow, &s.HookFreshWindow),
		period("presence_lease", &l.PresenceLease, &s.PresenceLease),
		period("delivery_lease", &l.DeliveryLease, &s.DeliveryLease),
		period("message_retention", &l.MessageRetention, &s.MessageRetention),
		period("audit_retention", &l.AuditRetention, &s.AuditRetention),
		period("hello_timeout", &l.HelloTimeout, &s.HelloTimeout),
		period("ping_interval", &l.PingInterval, &s.PingInterval),
		period("pong_timeout", &l.PongTimeout, &s.PongTimeout),
	}
}

// settings returns the broker's settings: the defaults, overridden by the limits that are
// set in l. They may be out of range.
func (l Limits) settings() broker.Settings {
	s := broker.DefaultSettings()
	for _, o := range options(&l, &s) {
		if n := o.given.get(); n != 0 {
			o.inEffect.set(n)
		}
	}
	return s
}

// disagreement names the first setting in which a and b differ, or returns nil.
func disagreement(a, b broker.Settings) error {
	var unused Limits
	theirs := options(&unused, &b)
	for i, o := range options(&unused, &a) {
		if o.inEffect.get() != theirs[i].inEffect.get() {
			return fmt.Errorf("%s is %s here and %s there", o.name, theirs[i].text(), o.text())
		}
	}
	return nil
}

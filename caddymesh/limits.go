package caddymesh

import (
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/claudemesh/claudemesh/broker"
)

// Limits are the limits and timings of a broker. All handlers that share a
// storage share its broker and must agree on them. Zero means the default.
type Limits struct {
	// The most bytes of ciphertext, nonce and target together in one message;
	// frames may be 4 times as long. 1024 to 16777216. Default: 65536.
	MaxMessageBytes int `json:"max_message_bytes,omitempty"`

	// How many messages a member may send per minute on average; at least 1.
	// Default: 600.
	SendRatePerMin int `json:"send_rate_per_min,omitempty"`

	// How many messages a member may send at once; at least 1. Default: 100.
	SendBurst int `json:"send_burst,omitempty"`

	// How much work a member's connections in a mesh may ask for per minute on
	// average, in units of some ten microseconds of a processor: the smallest frame is
	// one, a roster of 1,000 presences 250, a recipient of a message beside the first
	// four. Beyond it the member waits, then is refused. At least 60. Default: 240000.
	WorkPerMin int `json:"work_per_min,omitempty"`

	// How many units of work a member may ask for at once; at least 1000.
	// Default: 5000.
	WorkBurst int `json:"work_burst,omitempty"`

	// How many sessions that the broker does not know yet a member may begin per hour,
	// and at once; at least 1. Default: 1000.
	NewSessionsPerHour int `json:"new_sessions_per_hour,omitempty"`

	// How many connections a mesh may have, leased presences included. 1 to
	// 1000000. Default: 10000.
	MaxConnectionsPerMesh int `json:"max_connections_per_mesh,omitempty"`

	// How many members a mesh may have; those that were removed do not count. 1 to
	// 1000000. Default: 10000.
	MaxMembersPerMesh int `json:"max_members_per_mesh,omitempty"`

	// How many bytes the messages may take that wait in a mesh for recipients that are
	// away: nonce and ciphertext, 1024 for each message and 320 for each recipient of
	// it. 1048576 to 1125899906842624. Default: 4294967296.
	MaxQueueBytesPerMesh int64 `json:"max_queue_bytes_per_mesh,omitempty"`

	// How many hook posts are taken per minute, and at once, from one process in
	// one directory. 1 to 1000000. Default: 30.
	HookRateLimitPerMin int `json:"hook_rate_limit_per_min,omitempty"`

	// How long a session counts as working without a sign of life before it falls
	// back to idle. 1s to 24h. Default: 60s.
	StatusTTL caddy.Duration `json:"status_ttl,omitempty"`

	// How long a status that a hook reported beats the same status from a lesser
	// source. 1s to 24h. Default: 30s.
	HookFreshWindow caddy.Duration `json:"hook_fresh_window,omitempty"`

	// How long a dropped connection keeps its presence, so that a return within
	// that time goes unnoticed. 1s to 24h. Default: 90s.
	PresenceLease caddy.Duration `json:"presence_lease,omitempty"`

	// How long a message may stay unacknowledged by its recipient before it is
	// delivered again. It doubles with each repetition, up to an hour, until the
	// recipient acknowledges something or comes back. 1s to 24h. Default: 30s.
	DeliveryLease caddy.Duration `json:"delivery_lease,omitempty"`

	// How long a message waits for recipients that are away. 1m to 366 days.
	// Default: 7d.
	MessageRetention caddy.Duration `json:"message_retention,omitempty"`

	// How long a new connection may stay silent before its hello. 1s to 1m.
	// Default: 10s.
	HelloTimeout caddy.Duration `json:"hello_timeout,omitempty"`

	// The time between the broker's pings. 1s to 1h; must be shorter than
	// pong_timeout and than the idle limit of any proxy in between. Default: 30s.
	PingInterval caddy.Duration `json:"ping_interval,omitempty"`

	// A connection on which nothing arrived for so long is dead. 2s to 2h.
	// Default: 75s.
	PongTimeout caddy.Duration `json:"pong_timeout,omitempty"`
}

// option ties a limit's name to its place in Limits and in broker.Settings.
type option struct {
	name     string
	period   bool   // a duration, in nanoseconds; else a count
	given    number // in Limits; 0: not set
	inEffect number // in broker.Settings
}

// number is a place for a number of any size.
type number interface {
	get() int64
	set(n int64) bool // whether it fits
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

// text returns the value in effect as it is written.
func (o option) text() string {
	if o.period {
		return time.Duration(o.inEffect.get()).String()
	}
	return strconv.FormatInt(o.inEffect.get(), 10)
}

// options lists every limit once; all that is done to each of them goes through
// this list.
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
		period("hello_timeout", &l.HelloTimeout, &s.HelloTimeout),
		period("ping_interval", &l.PingInterval, &s.PingInterval),
		period("pong_timeout", &l.PongTimeout, &s.PongTimeout),
	}
}

// settings returns the broker's settings: the defaults, overridden by what is
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

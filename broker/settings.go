package broker

import (
	"fmt"
	"time"
)

// Settings are the limits and timings of a broker. They may change while it runs. The zero value
// is not valid: start from DefaultSettings.
type Settings struct {
	MaxMessageBytes       int           // ciphertext + nonce + targetSpec of one send; frames may be 4 times as long
	SendRatePerMin        int           // sends per member and minute, on average
	SendBurst             int           // sends per member at once
	WorkPerMin            int           // units of work that a member's frames may cost per minute, on average, see prices
	WorkBurst             int           // units of work at once
	NewSessionsPerHour    int           // new presences of a member that have to be stored, per hour and at once
	MaxConnectionsPerMesh int           // presences of a mesh, leased ones included
	MaxMembersPerMesh     int           // members of a mesh, without removed ones
	MaxQueueBytesPerMesh  int64         // bytes of the messages that wait in a mesh, see queue.Burden
	HookRateLimitPerMin   int           // hook posts per (pid, cwd) and minute; as many at once
	StatusTTL             time.Duration // working without a sign of life falls back to idle
	HookFreshWindow       time.Duration // how long a hook's status beats a lower source's
	PresenceLease         time.Duration // how long a dropped socket keeps its presence
	DeliveryLease         time.Duration // how long a push may go unacknowledged before it is pushed again
	MessageRetention      time.Duration // how long a message waits for its recipients
	AuditRetention        time.Duration // how long the audit log keeps an entry; keepAudit: for ever
	HelloTimeout          time.Duration // how long a socket may stay silent before its hello
	PingInterval          time.Duration // between the broker's pings
	PongTimeout           time.Duration // without any traffic for so long, a connection is dead
}

// keepAudit is the longest AuditRetention, for which the broker deletes nothing.
const keepAudit = 36_500 * 24 * time.Hour

// DefaultSettings returns the values of protocol v1, or more generous ones.
func DefaultSettings() Settings {
	return Settings{
		MaxMessageBytes:       65_536,
		SendRatePerMin:        600,
		SendBurst:             100,
		WorkPerMin:            240_000,
		WorkBurst:             5_000,
		NewSessionsPerHour:    1000,
		MaxConnectionsPerMesh: 10_000,
		MaxMembersPerMesh:     10_000,
		MaxQueueBytesPerMesh:  4 << 30,
		HookRateLimitPerMin:   30,
		StatusTTL:             60 * time.Second,
		HookFreshWindow:       30 * time.Second,
		PresenceLease:         90 * time.Second,
		DeliveryLease:         30 * time.Second,
		MessageRetention:      7 * 24 * time.Hour,
		AuditRetention:        keepAudit,
		HelloTimeout:          10 * time.Second,
		PingInterval:          30 * time.Second,
		PongTimeout:           75 * time.Second,
	}
}

// SettingError names a setting that is out of range.
type SettingError struct {
	Name    string // snake_case, as in configuration
	Value   any
	Allowed string
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("%s is %v; allowed: %s", e.Name, e.Value, e.Allowed)
}

// Validate returns a *SettingError for the first setting that is out of range.
func (s Settings) Validate() error {
	counts := []struct {
		name     string
		value    int64
		min, max int64
	}{
		{"max_message_bytes", int64(s.MaxMessageBytes), 1024, 16 << 20},
		{"send_rate_per_min", int64(s.SendRatePerMin), 1, 1_000_000_000},
		{"send_burst", int64(s.SendBurst), 1, 1_000_000_000},
		{"work_per_min", int64(s.WorkPerMin), 60, 1_000_000_000},
		{"work_burst", int64(s.WorkBurst), 1000, 1_000_000_000},
		{"new_sessions_per_hour", int64(s.NewSessionsPerHour), 1, 1_000_000_000},
		{"max_connections_per_mesh", int64(s.MaxConnectionsPerMesh), 1, 1_000_000},
		{"max_members_per_mesh", int64(s.MaxMembersPerMesh), 1, 1_000_000},
		{"max_queue_bytes_per_mesh", s.MaxQueueBytesPerMesh, 1 << 20, 1 << 50},
		{"hook_rate_limit_per_min", int64(s.HookRateLimitPerMin), 1, 1_000_000},
	}
	for _, c := range counts {
		if c.value < c.min || c.value > c.max {
			return &SettingError{c.name, c.value, fmt.Sprintf("%d to %d", c.min, c.max)}
		}
	}
	durations := []struct {
		name     string
		value    time.Duration
		min, max time.Duration
	}{
		{"status_ttl", s.StatusTTL, time.Second, 24 * time.Hour},
		{"hook_fresh_window", s.HookFreshWindow, time.Second, 24 * time.Hour},
		{"presence_lease", s.PresenceLease, time.Second, 24 * time.Hour},
		{"delivery_lease", s.DeliveryLease, time.Second, 24 * time.Hour},
		{"message_retention", s.MessageRetention, time.Minute, 366 * 24 * time.Hour},
		{"audit_retention", s.AuditRetention, 24 * time.Hour, keepAudit},
		{"hello_timeout", s.HelloTimeout, time.Second, time.Minute},
		{"ping_interval", s.PingInterval, time.Second, time.Hour},
		{"pong_timeout", s.PongTimeout, 2 * time.Second, 2 * time.Hour},
	}
	for _, d := range durations {
		if d.value < d.min || d.value > d.max {
			return &SettingError{d.name, d.value, fmt.Sprintf("%s to %s", d.min, d.max)}
		}
	}
	if s.PongTimeout <= s.PingInterval {
		return &SettingError{"pong_timeout", s.PongTimeout, "longer than ping_interval"}
	}
	return nil
}

package broker

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// Errors of HookStatus.
var (
	ErrHookInvalid = errors.New("cwd and status required")
	ErrHookRate    = errors.New("rate limited")
)

// hookCaller is what hooks are rate limited by.
type hookCaller struct {
	client netip.Addr
	pid    int64
	cwd    string
}

// HookStatus takes a status from a hook without a connection of its own. It
// reaches only presences that connected from the caller's own address; a signal
// for one that is not there yet waits a moment for it. Errors: ErrHookInvalid,
// ErrHookRate.
func (b *Broker) HookStatus(_ context.Context, h wire.HookStatus, client netip.Addr) (wire.HookResult, error) {
	client = client.Unmap()
	if h.Cwd == "" || !h.Status.Valid() || len(h.Cwd) > wire.MaxTextLen || len(h.SessionID) > wire.MaxClientID {
		return wire.HookResult{}, ErrHookInvalid
	}
	now, s := time.Now(), b.Settings()
	if !b.hooks.allow(hookCaller{client, h.PID, h.Cwd}, s.HookRateLimitPerMin, s.HookRateLimitPerMin, now) {
		return wire.HookResult{}, ErrHookRate
	}
	signal := presence.HookSignal{Addr: client, SessionID: h.SessionID, PID: h.PID, Cwd: h.Cwd, Status: h.Status}
	rooms := b.allRooms()
	var first wire.ID
	for _, r := range rooms { // one machine may be in several meshes
		if id := r.hook(signal, now); first.IsZero() {
			first = id
		}
	}
	if !first.IsZero() {
		return wire.HookResult{OK: true, PresenceID: first.String()}, nil
	}
	for _, r := range rooms {
		r.mu.Lock()
		r.HoldHook(signal, now)
		r.mu.Unlock()
	}
	return wire.HookResult{OK: true, Pending: true}, nil
}

// hook applies a signal to the presence that it means, if that is in this mesh.
func (r *room) hook(signal presence.HookSignal, now time.Time) wire.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.MatchHook(signal)
	if p == nil {
		return wire.ID{}
	}
	r.Touch(p, now)
	if r.SetStatus(p, signal.Status, presence.Hook, now, r.broker.Settings().HookFreshWindow) {
		r.regate(p)
	}
	r.save()
	return p.ID
}

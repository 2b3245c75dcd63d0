package broker

import (
	"context"
	"errors"
	"net/netip"
	"sync"
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

// HookStatus takes a status from a hook, which has no connection of its own. The status counts
// only for presences that connected from the caller's address. If there is none yet, it waits
// a moment for one. The errors are ErrHookInvalid and ErrHookRate.
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
	b.held.add(signal, now) // for meshes that are not in memory yet
	for _, r := range rooms {
		r.mu.Lock()
		r.presences.HoldHook(signal, now)
		r.mu.Unlock()
	}
	return wire.HookResult{OK: true, Pending: true}, nil
}

// hook applies a signal to its presence, if that is in this mesh.
func (r *room) hook(signal presence.HookSignal, now time.Time) wire.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.presences.MatchHook(signal)
	if p == nil {
		return wire.ID{}
	}
	r.presences.Touch(p, now)
	if r.presences.SetStatus(p, presence.Signal{Status: signal.Status, Source: presence.Hook}, now, r.broker.Settings().HookFreshWindow) {
		r.regateLocked(p)
	}
	r.saveLocked()
	return p.ID
}

// heldHooks holds recent signals without a presence, within the limits of a room's. A mesh gets
// them when it is loaded, since they may be for its first presence.
type heldHooks struct {
	mu   sync.Mutex
	list []heldHook // oldest first
}

type heldHook struct {
	signal presence.HookSignal
	at     time.Time
}

func (h *heldHooks) add(signal presence.HookSignal, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.recentLocked(now), heldHook{signal, now})
	h.list = h.list[max(0, len(h.list)-presence.MaxHooks):]
}

// recentLocked returns the signals that still wait.
func (h *heldHooks) recentLocked(now time.Time) []heldHook {
	for i, held := range h.list {
		if now.Sub(held.at) < presence.HookLife {
			return h.list[i:]
		}
	}
	return nil
}

// giveTo gives the signals that still wait to a mesh that was just loaded.
func (h *heldHooks) giveTo(r *room, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, held := range h.recentLocked(now) {
		r.presences.HoldHook(held.signal, held.at)
	}
}

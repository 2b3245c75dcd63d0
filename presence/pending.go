package presence

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Limits on the hook signals that wait for their presence.
const (
	HookLife = 10 * time.Second // how long one waits (protocol v1)
	MaxHooks = 1024             // how many wait in one place; beyond it, the oldest is dropped
)

// HookSignal is a status that a hook posted over HTTP.
type HookSignal struct {
	Addr      netip.Addr // the hook's: it counts only for presences from there
	SessionID string     // "" if the hook has none
	PID       int64      // 0 if the hook has none
	Cwd       string
	Status    wire.Status
}

type heldSignal struct {
	HookSignal
	at time.Time
}

// means reports whether the signal is for a presence that connected from addr: by
// session id, or by (pid, cwd).
func (h *HookSignal) means(p *Record, addr netip.Addr) bool {
	return h.Addr == addr &&
		(h.SessionID != "" && h.SessionID == p.SessionID || h.PID != 0 && h.PID == p.PID && h.Cwd == p.Cwd)
}

// MatchHook returns the presence that a hook's signal is for, or nil: by session id, else by
// (pid, cwd), else any in that cwd; always one that last connected from the hook's own
// address. It prefers sessions to other connections, which may have a session's id or
// directory, and newer connections to older ones.
func (r *Room[C]) MatchHook(h HookSignal) *Presence[C] {
	addr := h.Addr.Unmap()
	if h.SessionID != "" {
		if p := best(r.session[h.SessionID], addr, 0); p != nil {
			return p
		}
	}
	if h.PID != 0 {
		if p := best(r.cwd[h.Cwd], addr, h.PID); p != nil {
			return p
		}
	}
	return best(r.cwd[h.Cwd], addr, 0)
}

// best picks the presence that a hook from addr means; pid 0 is any.
func best[C comparable](among []*Presence[C], addr netip.Addr, pid int64) *Presence[C] {
	var found *Presence[C]
	for _, p := range among {
		if !p.Addr.IsValid() || p.Addr != addr || pid != 0 && p.PID != pid {
			continue
		}
		if found == nil || p.Proven && !found.Proven || p.Proven == found.Proven && p.attach > found.attach {
			found = p
		}
	}
	return found
}

// HoldHook keeps a signal that has no presence yet. Join applies it to one that arrives
// within HookLife.
func (r *Room[C]) HoldHook(h HookSignal, now time.Time) {
	if h.Addr = h.Addr.Unmap(); !h.Addr.IsValid() {
		return // it can't be matched to a presence
	}
	r.forgetPending(now)
	// Only the newest signal counts.
	r.pending = slices.DeleteFunc(r.pending, func(old heldSignal) bool {
		old.Status = h.Status
		return old.HookSignal == h
	})
	if len(r.pending) >= MaxHooks {
		r.pending = slices.Delete(r.pending, 0, 1)
	}
	r.pending = append(r.pending, heldSignal{h, now})
}

// applyPending gives a presence that just connected the newest of the signals that
// wait for its session id, else the newest of those for its (pid, cwd).
func (r *Room[C]) applyPending(p *Presence[C], isNew bool, now time.Time) {
	r.forgetPending(now)
	// A one-shot command may have the id of a session that is about to arrive: it leaves
	// the signals for that session, and applies none a second time.
	if len(r.pending) == 0 || p.claim && !isNew {
		return
	}
	var byPID, bySession *heldSignal
	for i := range r.pending {
		switch h := &r.pending[i]; {
		case !h.means(&p.Record, p.Addr):
		case h.SessionID == p.SessionID:
			bySession = h
		default:
			byPID = h
		}
	}
	newest := cmp.Or(bySession, byPID)
	if newest == nil {
		return
	}
	r.SetStatus(p, Signal{Status: newest.Status, Source: Hook}, now, 0) // nothing is above a hook: no window
	if p.claim {
		return
	}
	r.pending = slices.DeleteFunc(r.pending, func(h heldSignal) bool {
		return h.means(&p.Record, p.Addr)
	})
}

// forgetPending drops the signals that waited too long.
func (r *Room[C]) forgetPending(now time.Time) {
	r.pending = slices.DeleteFunc(r.pending, func(h heldSignal) bool { return now.Sub(h.at) >= HookLife })
}

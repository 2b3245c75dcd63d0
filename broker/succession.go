package broker

import (
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// claimedSuccessions returns the keys that a hello says it succeeds, before
// anything is verified.
func claimedSuccessions(list []wire.Succession) []wire.Key {
	var keys []wire.Key
	for _, s := range list {
		if old, err := wire.ParseKey(s.SessionPubkey); err == nil {
			keys = append(keys, old)
		}
	}
	return keys
}

// provenSuccessions returns the keys of those old sessions of a member that have
// signed that next goes on in their place, in the order of the list. Others are
// passed over: a hello is not refused because of what it can't have.
func (r *room) provenSuccessions(member wire.ID, next wire.Key, list []wire.Succession) []wire.Key {
	var keys []wire.Key
	for _, s := range list {
		old, err := wire.ParseKey(s.SessionPubkey)
		if err != nil {
			continue
		}
		r.mu.RLock()
		known, ok := r.presences.Known(old)
		r.mu.RUnlock()
		if !ok || known.MemberID != member { // before the costly question
			continue
		}
		sig, err := wire.ParseSignature(s.Signature)
		if err == nil && identity.VerifySuccession(r.id.String(), old, next, sig) {
			keys = append(keys, old)
		}
	}
	return keys
}

package broker

import (
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// claimedSuccessions returns the keys that a hello claims to succeed, unverified.
func claimedSuccessions(list []wire.Succession) []wire.Key {
	var keys []wire.Key
	for _, s := range list {
		if old, err := wire.ParseKey(s.SessionPubkey); err == nil {
			keys = append(keys, old)
		}
	}
	return keys
}

// provenSuccessions returns, in the order of the list, the keys of a member's old sessions that
// have signed that next succeeds them. It ignores others, and doesn't refuse the hello for them.
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
		if !ok || known.MemberID != member { // checked first, since verifying is costly
			continue
		}
		sig, err := wire.ParseSignature(s.Signature)
		if err == nil && identity.VerifySuccession(r.id.String(), old, next, sig) {
			keys = append(keys, old)
		}
	}
	return keys
}

package broker_test

import "testing"

// TestMailboxOfMemberThatLosesItsHome checks that messages to a member go to another of its sessions
// when the session that they went to comes back as one of another member: one person may be two
// members, with the same session keys.
func TestMailboxOfMemberThatLosesItsHome(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	owner := s.owner()
	before, after := s.joinAs(owner, "before"), s.joinAs(owner, "after")
	keys := newKeys(t)
	alice := s.session(owner, newKeys(t), "alice")
	stays := s.session(before, newKeys(t), "stays")
	moves := s.session(before, keys, "moves") // the newest session is its member's home
	alice.tell(1, before.keys.Public())
	moves.gets(1)
	alice.delivered(1)
	s.session(after, keys, "moves")
	alice.tell(2, before.keys.Public())
	stays.gets(2)
	alice.delivered(2)
}

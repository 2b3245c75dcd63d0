package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// ChangedKeyError tells that a name leads to another key than the one that it is
// pinned to, so that nothing may be sent there until the user trusts it.
type ChangedKeyError struct {
	Name      string   // from others; it may hold anything
	Known     wire.Key // the member key that the name is pinned to
	Confirmed bool     // which was compared
	Found     wire.Key // what the name leads to now: a member's key, or, with Unproven, any
	// Unproven tells that no member vouches for Found, so that there is nobody to trust.
	Unproven bool
	// Alike tells that Name only looks like the name that is pinned.
	Alike bool
}

func (e *ChangedKeyError) Error() string {
	name, known, found := visible.Line(e.Name, visible.People), e.Known.String()[:16], e.Found.String()[:16]
	if e.Confirmed {
		known += ", which you have compared"
	}
	switch {
	case e.Unproven:
		return fmt.Sprintf("nothing was sent to %q: you know the member key %s by that name, and it does not vouch for the key %s that the broker gives for it", name, known, found)
	case e.Alike:
		return fmt.Sprintf("nothing was sent to %q: the name looks like that of the member key %s, but leads to the member key %s", name, known, found)
	}
	return fmt.Sprintf("nothing was sent to %q: you know the member key %s by that name, but now it leads to the member key %s", name, known, found)
}

// Command is what the user runs to compare the keys, and to trust the new one.
func (e *ChangedKeyError) Command() string {
	const plain = "abcdefghijklmnopqrstuvwxyz0123456789._"
	to := e.Name
	if e.Alike || strings.Trim(strings.ToLower(to), plain) != "" || to == "" {
		to = e.Found.String()[:16]
	}
	return "claudemesh trust " + to
}

// Check fails with a *ChangedKeyError if what the user wrote, to, leads to a recipient
// whose names are pinned to another key, or for whom a member that is known does not
// vouch. A whole key always means that key. to is "" for who sent a message.
func (c Contacts) Check(ctx context.Context, meshID, to string, r peer.Recipient, members []wire.MemberRow) error {
	if _, err := wire.ParseKey(to); err == nil {
		return nil
	}
	err := c.check(ctx, meshID, to, r, namesIn(&r, members))
	var changed *ChangedKeyError
	if err == nil || errors.As(err, &changed) {
		return err
	}
	return fmt.Errorf("compare with the keys that are known: %w", err)
}

// Accept is the user's word that the names of a recipient are its member's, as Check has
// refused them.
func (c Contacts) Accept(ctx context.Context, meshID string, r peer.Recipient, members []wire.MemberRow, now time.Time) error {
	if r.Proven.IsZero() {
		return errors.New("trust contact: no member vouches for the key")
	}
	return c.Trust(ctx, meshID, r.Proven, now, namesIn(&r, members)...)
}

// namesIn returns by what a recipient is known: its name, and its member's.
func namesIn(r *peer.Recipient, members []wire.MemberRow) []string {
	names := []string{r.Name}
	for i := range members {
		if m := &members[i]; m.Pubkey == r.Proven && !strings.EqualFold(m.DisplayName, r.Name) {
			names = append(names, m.DisplayName)
		}
	}
	return names
}

func (c Contacts) check(ctx context.Context, meshID, to string, r peer.Recipient, names []string) error {
	found := r.Proven
	if found.IsZero() {
		found = r.Key
	}
	for _, name := range names {
		held, alike, err := holderOf(ctx, c.inbox.db, meshID, r.Proven, name)
		if err != nil {
			return err
		}
		if held != nil {
			return &ChangedKeyError{name, held.member, held.confirmed != 0, found, r.Proven.IsZero(), alike}
		}
	}
	known, met, err := c.Get(ctx, meshID, r.Member)
	if err != nil {
		return err
	}
	if r.Proven.IsZero() && met {
		return &ChangedKeyError{r.Name, r.Member, known.Confirmed(), found, true, false}
	}
	if !peer.IsKeyStart(to) {
		return nil
	}
	// A key whose start is another's can be made.
	var other string
	err = c.inbox.db.QueryRowContext(ctx, `SELECT coalesce(min(member), '') FROM contact WHERE mesh_id = ?1 AND member <> ?2 AND substr(member, 1, length(?3)) = ?3`,
		meshID, r.Proven.String(), strings.ToLower(to)).Scan(&other)
	if err == nil && other != "" {
		return &ChangedKeyError{to, keyOf(other), false, found, r.Proven.IsZero(), false}
	}
	return err
}

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

// ChangedKeyError reports that a name leads to another key than the one it is pinned to.
// Nothing may be sent there until the user trusts the new key.
type ChangedKeyError struct {
	Name      string   // from others; it may hold anything
	Known     wire.Key // the member key that the name is pinned to
	Confirmed bool     // the user has compared Known
	Found     wire.Key // what the name leads to now: a member's key, or, with Unproven, any
	// Unproven means that no member attests Found, so there is no member to trust.
	Unproven bool
	// Alike means that Name only looks like the pinned name.
	Alike bool
}

func (e *ChangedKeyError) Error() string {
	name, known, found := visible.Line(e.Name, visible.People), e.Known.String()[:16], e.Found.String()[:16]
	if e.Confirmed {
		known += ", which you have compared"
	}
	switch {
	case e.Unproven:
		return fmt.Sprintf("nothing was sent to %q: you know the member key %s by that name, but that member does not vouch for the key %s that the broker now gives for the name", name, known, found)
	case e.Alike:
		return fmt.Sprintf("nothing was sent to %q: the name looks like that of the member key %s, but leads to the member key %s", name, known, found)
	}
	return fmt.Sprintf("nothing was sent to %q: you know the member key %s by that name, but now it leads to the member key %s", name, known, found)
}

// Command returns the command that compares the keys and then trusts the new one.
func (e *ChangedKeyError) Command() string {
	const plain = "abcdefghijklmnopqrstuvwxyz0123456789._"
	to := e.Name
	if e.Alike || strings.Trim(strings.ToLower(to), plain) != "" || to == "" {
		to = e.Found.String()[:16]
	}
	return "claudemesh trust " + to
}

// Check returns a *ChangedKeyError if the user's text, to, leads to a recipient whose
// names are pinned to another key, or that a known member does not attest. A whole key
// always means that key. When the recipient is the sender of a message, to is "".
func (c Contacts) Check(ctx context.Context, meshID, to string, r peer.Recipient, members []wire.MemberRow) error {
	if _, ok := peer.WholeKey(to); ok {
		return nil
	}
	err := c.check(ctx, meshID, to, r, namesIn(&r, members))
	var changed *ChangedKeyError
	if err == nil || errors.As(err, &changed) {
		return err
	}
	return fmt.Errorf("compare with the keys that are known: %w", err)
}

// Accept records that the user trusts the names of a recipient, which Check has refused,
// as names of the recipient's member.
func (c Contacts) Accept(ctx context.Context, meshID string, r peer.Recipient, members []wire.MemberRow, now time.Time) error {
	if r.Proven.IsZero() {
		return errors.New("trust contact: no member vouches for the key")
	}
	return c.Trust(ctx, meshID, r.Proven, now, namesIn(&r, members)...)
}

// namesIn returns the names of a recipient: its own and its member's.
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
	// Somebody can make a key with the same start as another key.
	var other string
	err = c.inbox.db.QueryRowContext(ctx, `SELECT coalesce(min(member), '') FROM contact WHERE mesh_id = ?1 AND member <> ?2 AND substr(member, 1, length(?3)) = ?3`,
		meshID, r.Proven.String(), strings.ToLower(to)).Scan(&other)
	if err == nil && other != "" {
		return &ChangedKeyError{to, keyOf(other), false, found, r.Proven.IsZero(), false}
	}
	return err
}

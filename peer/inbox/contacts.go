package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// Contacts are the members that the user has met: the names they use, and whether the user
// has compared their keys. Only the broker says which names members have, so each name is
// pinned to the first key seen with it. Another key with that name is in conflict until
// the user trusts it. Names that look alike count as the same name. Contacts are in the
// Inbox's file, which all processes of the user share.
type Contacts struct{ inbox *Inbox }

// Contacts returns the contacts of the inbox's directory.
func (b *Inbox) Contacts() Contacts { return Contacts{b} }

// errNoContact is returned for a member that the user has never met.
var errNoContact = errors.New("you have never met this member in the mesh")

// Contact is what the user knows about a member.
type Contact struct {
	Member wire.Key
	Name   string // the first that it used; "" when it never gave one
	// Conflict means that the member's current name belongs to another member, With.
	Conflict    bool
	With        wire.Key
	alike       bool      // it only looks like the other's
	noName      bool      // people could mistake its name for something else: alike.Mistaken
	ConfirmedAt time.Time // when its key was compared; zero: never
}

// Confirmed reports whether the user has compared the member's key.
func (c *Contact) Confirmed() bool { return !c.ConfirmedAt.IsZero() }

// These are doubts about a name; peer.DoubtNoName is another one.
const (
	doubtOtherKey = "another key used this name before"
	doubtAlike    = "the name looks like another's"
)

// Doubt returns why the name can't be trusted, or "" if it can.
func (c *Contact) Doubt() string {
	switch {
	case c.Conflict && c.alike:
		return doubtAlike
	case c.Conflict:
		return doubtOtherKey
	case c.noName:
		return peer.DoubtNoName
	}
	return ""
}

// Pin remembers that a member uses a name of its own, and returns the contact. Call it
// only for verified keys, and not for names of sessions, because many sessions may use the
// same name.
func (c Contacts) Pin(ctx context.Context, meshID string, member wire.Key, name string, now time.Time) (contact Contact, err error) {
	err = c.inbox.inTx(ctx, "pin contact", func(tx *sql.Tx) error {
		contact, err = pin(ctx, tx, meshID, member, name, now)
		return err
	})
	return contact, err
}

// PinMembers calls Pin for all members that are not removed, with the names that the
// broker lists. New members with the same name are pinned in the order in which they
// joined.
func (c Contacts) PinMembers(ctx context.Context, meshID string, members []wire.MemberRow, now time.Time) error {
	members = slices.SortedStableFunc(slices.Values(members), func(a, b wire.MemberRow) int { return a.JoinedAt.Compare(b.JoinedAt.Time) })
	return c.inbox.inTx(ctx, "pin contacts", func(tx *sql.Tx) error {
		for i := range members {
			if members[i].Removed {
				continue
			}
			if _, err := pin(ctx, tx, meshID, members[i].Pubkey, members[i].DisplayName, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// RowTrust says how far a row of the roster can be trusted.
type RowTrust struct {
	Verified bool // the key is its member's, and the name nobody else's
	Doubt    string
	Pinned   string // Contact.Name of a verified member; "" when there is none
	Compared bool   // Verified, and the user has compared the member's key
}

// VerifyRows is VerifyRow for several rows. It also compares their names with each other
// and with the names that PinMembers has pinned. The result has one element for each row.
func (c Contacts) VerifyRows(ctx context.Context, meshID string, rows []wire.PeerRow, now time.Time) ([]RowTrust, error) {
	trust := make([]RowTrust, len(rows))
	lookalikes := lookalikes(rows)
	err := c.inbox.inTx(ctx, "pin contacts", func(tx *sql.Tx) error {
		for i := range rows {
			t := &trust[i]
			if t.Verified, t.Doubt = peer.VerifyRow(&rows[i], now); !t.Verified {
				continue
			}
			contact, err := meet(ctx, tx, meshID, rows[i].Pubkey, rows[i].MemberPubkey, rows[i].DisplayName, now)
			if err != nil {
				return err
			}
			t.Pinned, t.Doubt = contact.Name, contact.Doubt()
			if t.Doubt == "" && lookalikes[i] {
				t.Doubt = doubtAlike
			}
			t.Verified = t.Doubt == ""
			t.Compared = t.Verified && contact.Confirmed()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return trust, nil
}

// lookalikes reports which rows have a name that differs from the name of another member's
// row but looks like it. If one of the two names is plain ASCII, only the other one
// counts.
func lookalikes(rows []wire.PeerRow) []bool {
	named := make(map[string][]int)
	for i := range rows {
		folded := alike.Skeleton(rows[i].DisplayName)
		named[folded] = append(named[folded], i)
	}
	found := make([]bool, len(rows))
	for _, same := range named {
		for _, i := range same {
			found[i] = slices.ContainsFunc(same, func(j int) bool {
				a, b := rows[i].DisplayName, rows[j].DisplayName
				return rows[i].MemberPubkey != rows[j].MemberPubkey && !strings.EqualFold(a, b) && (!isASCII(a) || isASCII(b))
			})
		}
	}
	return found
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}

// Get returns a contact, without checking its current name. known is false for a member
// that the user has never met.
func (c Contacts) Get(ctx context.Context, meshID string, member wire.Key) (_ Contact, known bool, err error) {
	row, err := contactRow(ctx, c.inbox.db, meshID, member)
	switch {
	case errors.Is(err, errNoContact):
		return Contact{Member: member}, false, nil
	case err != nil:
		return Contact{}, false, fmt.Errorf("get contact: %w", err)
	}
	return row.Contact, true, nil
}

// Name returns the pinned name of a member, or "" if there is none.
func (c Contacts) Name(ctx context.Context, meshID string, member wire.Key) (string, error) {
	contact, _, err := c.Get(ctx, meshID, member)
	return contact.Name, err
}

// Confirm records that the user has compared a member's key and that the member's name at
// that time is its own. If now is zero, Confirm undoes that. It fails for a member that
// the user has never met.
func (c Contacts) Confirm(ctx context.Context, meshID string, member wire.Key, name string, now time.Time) error {
	at := sql.NullInt64{Int64: now.UnixMilli(), Valid: !now.IsZero()}
	return c.inbox.inTx(ctx, "confirm contact", func(tx *sql.Tx) error {
		if _, err := contactRow(ctx, tx, meshID, member); err != nil {
			return err
		}
		if _, err := pin(ctx, tx, meshID, member, name, now); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE contact SET confirmed_at = ? WHERE mesh_id = ? AND member = ?`, at, meshID, member.String()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE name_pin SET confirmed_at = ?1 WHERE mesh_id = ?2 AND member = ?3 AND (name = ?4 OR ?1 IS NULL)`,
			at, meshID, member.String(), name)
		return err
	})
}

// Trust gives a member names that belonged to others, as the user has decided. The former
// holders are then in conflict, unless the user trusted them or compared their keys.
func (c Contacts) Trust(ctx context.Context, meshID string, member wire.Key, now time.Time, names ...string) error {
	return c.inbox.inTx(ctx, "trust contact", func(tx *sql.Tx) error {
		for _, name := range names {
			if _, err := pin(ctx, tx, meshID, member, name, now); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `UPDATE name_pin SET trusted_at = ? WHERE mesh_id = ? AND member = ? AND name = ?`,
				now.UnixMilli(), meshID, member.String(), name); err != nil {
				return err
			}
			if err := takeName(ctx, tx, meshID, member, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// takeName takes a name from the contacts that have it, except for one member. They get the
// next name that they use.
func takeName(ctx context.Context, tx *sql.Tx, meshID string, member wire.Key, name string) error {
	list, err := holders(ctx, tx, meshID, name)
	if err != nil {
		return err
	}
	for i := range list {
		if h := &list[i]; h.member != member && strings.EqualFold(h.name, name) {
			if _, err := tx.ExecContext(ctx, `UPDATE contact SET name = '', folded = '' WHERE mesh_id = ? AND member = ? AND name = ?`, meshID, h.member.String(), h.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// contact is a row of the table.
type contact struct {
	Contact
	folded string
}

func contactRow(ctx context.Context, q querier, meshID string, member wire.Key) (contact, error) {
	row := contact{Contact: Contact{Member: member}}
	var confirmed sql.NullInt64
	err := q.QueryRowContext(ctx, `SELECT name, folded, confirmed_at FROM contact WHERE mesh_id = ? AND member = ?`, meshID, member.String()).
		Scan(&row.Name, &row.folded, &confirmed)
	if errors.Is(err, sql.ErrNoRows) {
		return row, errNoContact
	}
	if confirmed.Valid {
		row.ConfirmedAt = time.UnixMilli(confirmed.Int64).UTC()
	}
	return row, err
}

// meet returns the contact of a member that was met under the name of a session. If the
// name comes with the member's own key, and the broker's list has not named the member
// yet, meet pins the name.
func meet(ctx context.Context, tx *sql.Tx, meshID string, key, member wire.Key, name string, now time.Time) (Contact, error) {
	row, err := contactRow(ctx, tx, meshID, member)
	if errors.Is(err, errNoContact) && key == member {
		return pin(ctx, tx, meshID, member, name, now)
	}
	if err != nil && !errors.Is(err, errNoContact) {
		return row.Contact, err
	}
	return row.judged(ctx, tx, meshID, name)
}

// pin gives a member a name unless another member has it, and returns the holder. An
// invisible name belongs to nobody and is not pinned.
func pin(ctx context.Context, tx *sql.Tx, meshID string, member wire.Key, name string, now time.Time) (Contact, error) {
	folded := alike.Skeleton(name)
	row, err := contactRow(ctx, tx, meshID, member)
	if err != nil && !errors.Is(err, errNoContact) || folded == "" {
		if errors.Is(err, errNoContact) {
			err = nil
		}
		row.noName = name != ""
		return row.Contact, err
	}
	if errors.Is(err, errNoContact) || row.Name == "" {
		_, err = tx.ExecContext(ctx, `INSERT INTO contact (mesh_id, member, name, folded, pinned_at) VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT (mesh_id, member) DO UPDATE SET name = ?3, folded = ?4`, meshID, member.String(), name, folded, now.UnixMilli())
		if err != nil {
			return row.Contact, err
		}
		row.Name, row.folded = name, folded
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO name_pin (mesh_id, folded, member, name, pinned_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (mesh_id, member, name) DO NOTHING`, meshID, folded, member.String(), name, now.UnixMilli())
	if err != nil {
		return row.Contact, err
	}
	return row.judged(ctx, tx, meshID, name)
}

// judged returns the contact as seen under a name.
func (c contact) judged(ctx context.Context, q querier, meshID, name string) (Contact, error) {
	held, looks, err := holderOf(ctx, q, meshID, c.Member, name)
	if err != nil {
		return c.Contact, err
	}
	if held != nil {
		c.Conflict, c.With, c.alike = true, held.member, looks
	}
	c.noName = name != "" && alike.Mistaken(name) != ""
	return c.Contact, nil
}

// holder is a member that uses a name, and its claim to the name.
type holder struct {
	id                 int64 // rises in the order of first use
	member             wire.Key
	name               string
	trusted, confirmed int64 // when; 0: never
}

// before reports whether h has a better claim to a name than o. A compared key comes
// first, then a trusted key (the latest first), then the key that was seen first.
func (h *holder) before(o *holder) bool {
	switch {
	case o == nil:
		return true
	case (h.confirmed != 0) != (o.confirmed != 0):
		return h.confirmed != 0
	case h.trusted != o.trusted:
		return h.trusted > o.trusted
	}
	return h.id < o.id
}

// holderOf returns the other member that a name belongs to, or nil if the name belongs to
// the member itself or to nobody. If alike is set, the name only looks like one of the
// holder's names, and the holder keeps its own.
func holderOf(ctx context.Context, q querier, meshID string, member wire.Key, name string) (held *holder, alike bool, err error) {
	list, err := holders(ctx, q, meshID, name)
	if err != nil {
		return nil, false, err
	}
	var own, same, like *holder
	for i := range list {
		h := &list[i]
		best := &like
		switch exact := strings.EqualFold(h.name, name); {
		case exact && h.member == member:
			best = &own
		case exact:
			best = &same
		case h.member == member:
			continue
		}
		if h.before(*best) {
			*best = h
		}
	}
	switch {
	case own != nil && (own.confirmed != 0 || own.trusted != 0):
		return nil, false, nil
	case same != nil && (own == nil || same.before(own)):
		return same, false, nil
	case like != nil && (own == nil || like.confirmed != 0 || like.id < own.id):
		return like, true, nil
	}
	return nil, false, nil
}

// holders returns the members that use a name or one that looks like it.
func holders(ctx context.Context, q querier, meshID, name string) ([]holder, error) {
	folded := alike.Skeleton(name)
	if folded == "" {
		return nil, nil
	}
	return disk.Collect(ctx, q, func(r *sql.Rows, h *holder) error {
		var key string
		err := r.Scan(&h.id, &key, &h.name, &h.trusted, &h.confirmed)
		h.member = keyOf(key)
		return err
	}, `SELECT id, member, name, coalesce(trusted_at, 0), coalesce(confirmed_at, 0) FROM name_pin
		WHERE mesh_id = ? AND folded = ? ORDER BY id`, meshID, folded)
}

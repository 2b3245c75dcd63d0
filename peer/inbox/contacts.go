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
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// Contacts are the members that the user has met: the names they bear, and whether the
// user has compared their keys. Names are the broker's word, so each name is pinned to the
// key with which it was first seen. Another key under that name is in conflict until the
// user trusts it. A name that looks like another counts as the same name. Contacts are in
// the Inbox's file, which all processes of the user share.
type Contacts struct{ inbox *Inbox }

// Contacts returns the contacts of the inbox's directory.
func (b *Inbox) Contacts() Contacts { return Contacts{b} }

// errNoContact is returned for a member who was never met.
var errNoContact = errors.New("this member was never met in the mesh")

// Contact is how a member is known.
type Contact struct {
	Member wire.Key
	Name   string // the first that it used; "" when it never gave one
	// Conflict tells that the name under which it came now is another member's,
	// which is With.
	Conflict    bool
	With        wire.Key
	alike       bool      // it only looks like the other's
	noName      bool      // it came under a text that is no name: alike.Mistaken
	ConfirmedAt time.Time // when its key was compared; zero: never
}

// Confirmed reports whether the member's key was compared.
func (c *Contact) Confirmed() bool { return !c.ConfirmedAt.IsZero() }

// Doubts about a name; peer.DoubtNoName is another.
const (
	doubtOtherKey = "another key used this name before"
	doubtAlike    = "the name looks like another's"
)

// Doubt returns why the name is not to be trusted, "" when it is.
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

// Pin remembers that a member uses a name of its own, and returns how the member is
// known. Call it only for verified keys, and not for names of sessions: many sessions may
// use the same name.
func (c Contacts) Pin(ctx context.Context, meshID string, member wire.Key, name string, now time.Time) (contact Contact, err error) {
	err = c.inbox.inTx(ctx, "pin contact", func(tx *sql.Tx) error {
		contact, err = pin(ctx, tx, meshID, member, name, now)
		return err
	})
	return contact, err
}

// PinMembers is Pin for the members that are not removed, under the names by which
// the broker lists them; of two that are new, the one that joined first comes first.
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

// RowTrust is what is known of a row of the roster.
type RowTrust struct {
	Verified bool // the key is its member's, and the name nobody else's
	Doubt    string
	Pinned   string // Contact.Name of a verified member; "" when there is none
	Compared bool   // Verified, and the user has compared the member's key
}

// VerifyRows is VerifyRow with the names compared to those of the members, which
// PinMembers has pinned, and with one another; the answer has an element for each row.
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

// lookalikes tells which rows have a name that looks like that of another member's
// row and is not the same. Of the two, one that is plain ASCII is not to blame.
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

// Get returns a contact, without a look at what it calls itself now; known is false
// for a member that was never met.
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

// Name returns the name that was pinned for a member, "" when there is none.
func (c Contacts) Name(ctx context.Context, meshID string, member wire.Key) (string, error) {
	contact, _, err := c.Get(ctx, meshID, member)
	return contact.Name, err
}

// Confirm remembers that a member's key was compared, and that the name which it bore
// then is its own; or takes that back when now is zero. It fails for a member who was never met.
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

// Trust gives a member names that were another's: the user has said so. Whoever had
// one is in conflict from now on, unless it was trusted or its key compared.
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
			// Whoever had the name is called by the next one that it bears.
			if _, err := tx.ExecContext(ctx, `UPDATE contact SET name = '', folded = '' WHERE mesh_id = ? AND member <> ? AND lower(name) = lower(?)`,
				meshID, member.String(), name); err != nil {
				return err
			}
		}
		return nil
	})
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

// meet returns how a member is known that was met under the name of a session. One
// that no list of members has named is pinned, if it is its own key that bears the name.
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

// pin gives a member the name unless another has it, and finds out whose it is. A name
// that shows nothing is nobody's and pins nothing.
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

// judged returns the contact as it is known under a name.
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

// holder is who bears a name, and with what right.
type holder struct {
	id                 int64 // rises in the order of first use
	member             wire.Key
	name               string
	trusted, confirmed int64 // when; 0: never
}

// before reports whether a name is rather h's than o's: that of a key that was
// compared, of one that was trusted, the last first, or that was seen first.
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

// holderOf returns whose a name is instead of the member's; nil when it is the member's
// own or nobody's. A name that looks like one is not its holder's, and takes nothing
// away from it: alike tells that.
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

// holders returns who bears a name, or one that looks like it.
func holders(ctx context.Context, q querier, meshID, name string) (list []holder, err error) {
	folded := alike.Skeleton(name)
	if folded == "" {
		return nil, nil
	}
	rows, err := q.QueryContext(ctx, `SELECT id, member, name, coalesce(trusted_at, 0), coalesce(confirmed_at, 0) FROM name_pin
		WHERE mesh_id = ? AND folded = ? ORDER BY id`, meshID, folded)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var h holder
		var key string
		if err := rows.Scan(&h.id, &key, &h.name, &h.trusted, &h.confirmed); err != nil {
			return nil, err
		}
		h.member = keyOf(key)
		list = append(list, h)
	}
	return list, rows.Err()
}

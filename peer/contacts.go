package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/claudemesh/claudemesh/wire"
)

// Contacts are the names under which members were first met, and the keys that
// were compared by voice. Names are the peers' own and the broker's word: the first
// one seen with a member key stays, and a key that comes under the name of another
// is a conflict. They live in the Inbox's file.
type Contacts struct{ inbox *Inbox }

// Contacts returns the contacts of the inbox's directory.
func (b *Inbox) Contacts() Contacts { return Contacts{b} }

// ErrNoContact is returned for a member who was never met.
var ErrNoContact = errors.New("this member was never met in the mesh")

// Contact is how a member is known.
type Contact struct {
	Member wire.Key
	Name   string // the first that it used; "" when it never gave one
	// Conflict tells that the name under which it came now is another member's,
	// which is With.
	Conflict    bool
	With        wire.Key
	ConfirmedAt time.Time // when its key was compared; zero: never
}

// Confirmed reports whether the member's key was compared.
func (c *Contact) Confirmed() bool { return !c.ConfirmedAt.IsZero() }

// Doubt returns why the name is not to be trusted, "" when it is.
func (c *Contact) Doubt() string {
	if c.Conflict {
		return "another key used this name before"
	}
	return ""
}

// Pin tells that a member was met under a name, and returns how it is known. It is
// for keys that are verified.
func (c Contacts) Pin(ctx context.Context, meshID string, member wire.Key, name string, now time.Time) (contact Contact, err error) {
	err = c.inbox.inTx(ctx, "pin contact", func(tx *sql.Tx) error {
		contact, err = pin(ctx, tx, meshID, member, name, now)
		return err
	})
	return contact, err
}

// PinMembers is Pin for the members that are not removed, under the names by which
// the broker lists them.
func (c Contacts) PinMembers(ctx context.Context, meshID string, members []wire.MemberRow, now time.Time) error {
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
}

// VerifyRows is VerifyRow with the names of the members pinned and compared; the
// answer has an element for each row.
func (c Contacts) VerifyRows(ctx context.Context, meshID string, rows []wire.PeerRow, now time.Time) ([]RowTrust, error) {
	trust := make([]RowTrust, len(rows))
	err := c.inbox.inTx(ctx, "pin contacts", func(tx *sql.Tx) error {
		for i := range rows {
			t := &trust[i]
			if t.Verified, t.Doubt = VerifyRow(&rows[i], now); !t.Verified {
				continue
			}
			contact, err := pin(ctx, tx, meshID, rows[i].MemberPubkey, rows[i].DisplayName, now)
			if err != nil {
				return err
			}
			t.Pinned, t.Doubt = contact.Name, contact.Doubt()
			t.Verified = t.Doubt == ""
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return trust, nil
}

// Get returns a contact, without a look at what it calls itself now; known is false
// for a member that was never met.
func (c Contacts) Get(ctx context.Context, meshID string, member wire.Key) (_ Contact, known bool, err error) {
	row, err := contactRow(ctx, c.inbox.db, meshID, member)
	switch {
	case errors.Is(err, ErrNoContact):
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

// Confirm remembers that a member's key was compared, or takes that back when now
// is zero. It fails with ErrNoContact.
func (c Contacts) Confirm(ctx context.Context, meshID string, member wire.Key, now time.Time) error {
	at := sql.NullInt64{Int64: now.UnixMilli(), Valid: !now.IsZero()}
	return c.inbox.inTx(ctx, "confirm contact", func(tx *sql.Tx) error {
		if _, err := contactRow(ctx, tx, meshID, member); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE contact SET confirmed_at = ? WHERE mesh_id = ? AND member = ?`, at, meshID, member.String())
		return err
	})
}

// contact is a row of the table.
type contact struct {
	Contact
	id     int64
	folded string
}

func contactRow(ctx context.Context, q querier, meshID string, member wire.Key) (contact, error) {
	row := contact{Contact: Contact{Member: member}}
	var confirmed sql.NullInt64
	err := q.QueryRowContext(ctx, `SELECT id, name, folded, confirmed_at FROM contact WHERE mesh_id = ? AND member = ?`, meshID, member.String()).
		Scan(&row.id, &row.Name, &row.folded, &confirmed)
	if errors.Is(err, sql.ErrNoRows) {
		return row, ErrNoContact
	}
	if confirmed.Valid {
		row.ConfirmedAt = time.UnixMilli(confirmed.Int64).UTC()
	}
	return row, err
}

// pin inserts the contact if it is new, and finds out whose the name is. A name
// that shows nothing is nobody's and pins nothing.
func pin(ctx context.Context, tx *sql.Tx, meshID string, member wire.Key, name string, now time.Time) (Contact, error) {
	folded := foldName(name)
	row, err := contactRow(ctx, tx, meshID, member)
	if errors.Is(err, ErrNoContact) {
		if folded == "" {
			return row.Contact, nil
		}
		var res sql.Result
		res, err = tx.ExecContext(ctx, `INSERT INTO contact (mesh_id, member, name, folded, pinned_at) VALUES (?, ?, ?, ?, ?)`,
			meshID, member.String(), name, folded, now.UnixMilli())
		if err == nil {
			row.Name, row.folded = name, folded
			row.id, err = res.LastInsertId()
		}
	}
	if err != nil || folded == "" {
		return row.Contact, err
	}
	// Whoever was first keeps the name, or whoever's key was compared. A key that
	// was compared is known by its own first name, not by any that it takes later.
	own := row.folded == folded
	if own && row.Confirmed() {
		return row.Contact, nil
	}
	var other string
	err = tx.QueryRowContext(ctx, `SELECT member FROM contact WHERE mesh_id = ? AND folded = ? AND member <> ?
		AND (NOT ? OR id < ? OR confirmed_at IS NOT NULL) ORDER BY confirmed_at IS NULL, id LIMIT 1`,
		meshID, folded, member.String(), own, row.id).Scan(&other)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return row.Contact, nil
	case err != nil:
		return row.Contact, err
	}
	row.Conflict, row.With = true, keyOf(other)
	return row.Contact, nil
}

// foldName returns a name as names are compared: without what does not show, case
// and the number of blanks.
func foldName(name string) string {
	shown := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r):
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r))
	}, name)
	return strings.Join(strings.Fields(shown), " ")
}

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// trialBytes is what the largest message of the default limit takes in the log, with
// its rows in other tables and in indexes.
const trialBytes = 128 << 10

// errTakenBack ends the transaction of a message that is not to be stored.
var errTakenBack = errors.New("taken back")

// Ping tells whether a message could be stored now. It stores one, of a mesh that does
// not exist, takes that back, and commits as many bytes as a large one takes, since a
// full disk may have room for a small one.
func (s *Store) Ping(ctx context.Context) error {
	now := time.Now()
	m := queue.Message{ID: s.trials.New(now), Priority: wire.Low, CreatedAt: now, Ciphertext: "x"}
	m.MeshID, m.SenderMember = m.ID, m.ID
	to := []queue.Recipient{{Seq: math.MaxInt64, Mailbox: queue.Mailbox{Mesh: m.MeshID, Name: "trial"}}}
	entry, _ := audit.Extend(audit.Head{}, audit.NewEvent(m.MeshID, now, audit.Broker, audit.RoutedDetail{Message: m.ID}))
	err := s.update(ctx, func(t tx) error {
		if _, err := t.insertMessages([]*queue.Accepted{{Message: m, Recipients: to}}, []int{0}); err != nil {
			return err
		}
		if err := t.appendAudit([]audit.Entry{entry}); err != nil {
			return err
		}
		return errTakenBack
	})
	if errors.Is(err, errTakenBack) {
		err = s.update(ctx, func(t tx) error {
			_, err := t.exec(`INSERT INTO trial (id, body) VALUES (1, randomblob(?)) ON CONFLICT (id) DO UPDATE SET body = excluded.body`,
				trialBytes)
			return err
		})
	}
	return wrap("check database", err)
}

// wrap says what was being done when err happened, if it did, and knows its reason.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, &storage.Fault{Reason: reasonOf(err), Err: err})
}

func reasonOf(err error) storage.Reason {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return storage.ReasonOf(err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return storage.Full
	case sqlite3.SQLITE_READONLY:
		return storage.ReadOnly
	case sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return storage.Refused
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return storage.NoAnswer
	case sqlite3.SQLITE_CANTOPEN:
		return storage.Unreachable
	}
	return storage.Failed
}

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

// trialBytes is how many bytes the largest message under the default limit takes in the
// log, including its rows in other tables and in indexes.
const trialBytes = 128 << 10

// errTakenBack rolls back the transaction of a trial message.
var errTakenBack = errors.New("taken back")

// Ping checks that a message can be stored now. It stores a message of a mesh that does
// not exist and rolls that back. Then it commits as many bytes as a large message takes,
// because a full disk may still have room for a small one.
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

// wrap adds to err, if it is not nil, what the store was doing, and the reason if it is
// known.
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

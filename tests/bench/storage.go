package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"path/filepath"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// messageBytes is the size of a message's body, like in `claudemesh bench`.
const messageBytes = 1024

// sealedBytes is the size of a sealed body: NaCl's box adds 16 bytes.
const sealedBytes = messageBytes + 16

// batchMessages is the number of messages that a broker under load commits at a time
// (batchMessages in journal/journal.go).
const batchMessages = 256

// openStorage opens a storage on an empty database.
func (l *lab) openStorage(s *stage, db string) broker.Storage {
	var store broker.Storage
	var err error
	if db == postgresDB {
		dsn, _ := l.database(s)
		store, err = postgres.Open(dsn)
	} else {
		store, err = sqlite.Open(filepath.Join(harness.ShortTempDir(s), "bench.db"))
	}
	s.check("open a storage", err)
	s.Cleanup(func() { s.check("close a storage", store.Close()) })
	s.check("migrate", store.Migrate(s.ctx))
	s.check("claim", store.Claim(s.ctx))
	return store
}

// path selects the rows that a message costs.
type path string

const (
	// pathLive: the recipient has acknowledged the message before the batch begins. This
	// costs the fewest rows, so ceiling S uses this path.
	pathLive path = "live"
	// pathQueued: the recipient acknowledges the message later. The batch stores the body,
	// and one of the next batches settles the delivery and removes the body.
	pathQueued path = "queued"
)

// storageRate measures ceiling S: the messages per second of commits alone, without the time for
// preparing batches.
func (l *lab) storageRate(s *stage, db string, p path, length time.Duration) float64 {
	store := l.openStorage(s, db)
	rows := newRows(s)
	var settled []queue.Settlement
	var spent time.Duration
	messages := 0
	for spent < length {
		batch := journal.Batch{Settled: settled}
		settled = nil
		for range batchMessages {
			m := rows.message(wire.Key{1}, wire.Key{2})
			now := time.Now()
			if p == pathLive {
				m.Recipients[0].State, m.Recipients[0].SettledAt = queue.Delivered, now
			} else {
				settled = append(settled, queue.Settlement{Mesh: m.MeshID, Seq: m.Recipients[0].Seq, State: queue.Delivered, At: now})
			}
			batch.Messages = append(batch.Messages, m)
			batch.Audit = append(batch.Audit, rows.audit(m))
		}
		start := time.Now()
		duplicates, err := store.Commit(s.ctx, &batch)
		spent += time.Since(start)
		if s.check("commit", err); len(duplicates) > 0 {
			s.Fatalf("%d messages of the bench were already stored", len(duplicates))
		}
		messages += batchMessages
	}
	return float64(messages) / spent.Seconds()
}

// rows creates messages between one member's sessions, in the form in which the broker stores
// them.
type rows struct {
	mesh, member wire.ID
	key          identity.KeyPair
	attestation  *wire.Attestation
	ids          wire.IDSource
	seq          int64
	head         audit.Head
	ciphertext   string
	nonce        string
}

func newRows(s *stage) *rows {
	key, err := identity.Generate()
	s.check("make a key", err)
	r := &rows{key: key}
	r.mesh, r.member = r.ids.New(time.Now()), r.ids.New(time.Now())
	random := make([]byte, sealedBytes+24)
	rand.Read(random) // never fails (crypto/rand)
	r.ciphertext = base64.StdEncoding.EncodeToString(random[:sealedBytes])
	r.nonce = base64.StdEncoding.EncodeToString(random[sealedBytes:])
	word := identity.Attest(key, key.Public(), time.Now().Add(identity.DefaultAttestationTTL))
	r.attestation = &wire.Attestation{
		SessionPubkey: word.SessionPubkey.String(), ParentMemberPubkey: word.ParentMemberPubkey.String(),
		ExpiresAt: word.ExpiresAt, Signature: word.Signature.String(),
	}
	return r
}

// message creates the next message from one session to another, which has not acknowledged it.
func (r *rows) message(from, to wire.Key) *queue.Accepted {
	r.seq++
	now := time.Now().Truncate(time.Millisecond)
	var clientID [16]byte
	binary.BigEndian.PutUint64(clientID[8:], uint64(r.seq))
	return &queue.Accepted{
		Message: queue.Message{
			ID: r.ids.New(now), MeshID: r.mesh, SenderMember: r.member, SenderMemberKey: r.key.Public(), SenderKey: from,
			SenderName: "bench-00000000-0", SenderAttestation: r.attestation, TargetSpec: to.String(), Priority: wire.Next,
			Nonce: r.nonce, Ciphertext: r.ciphertext, CreatedAt: now, ClientID: hex.EncodeToString(clientID[:]),
		},
		Recipients: []queue.Recipient{{
			Seq: r.seq, Mailbox: queue.Mailbox{Mesh: r.mesh, Name: string(presence.SessionIdentity(to))},
			Key: to, Name: "bench-00000000-1", SameMember: true,
		}},
	}
}

// audit creates the message's audit entry, like journal.routed.
func (r *rows) audit(m *queue.Accepted) audit.Entry {
	event := audit.NewEvent(m.MeshID, m.CreatedAt, m.SenderMember.String(), audit.RoutedDetail{
		Message: m.ID, Target: audit.Direct, Recipients: len(m.Recipients),
		Bytes: len(m.Nonce) + len(m.Ciphertext), Priority: m.Priority,
	})
	entry, head := audit.Extend(r.head, event)
	r.head = head
	return entry
}

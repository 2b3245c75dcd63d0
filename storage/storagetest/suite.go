package storagetest

import (
	"context"
	"testing"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
)

// Store is everything that a storage does: the methods of broker.Storage, and
// SchemaVersion.
type Store interface {
	mesh.Store
	presence.Store
	queue.Store
	audit.Store
	journal.Store

	Migrate(ctx context.Context) error
	SchemaVersion(ctx context.Context) (int, error)
	Claim(ctx context.Context) error
	Claimed() error
	Ping(ctx context.Context) error
	Depth(ctx context.Context) (queue.Depth, error)
	Close() error
}

// Database is an empty database for one test.
type Database struct {
	// Open opens the database. It may be called several times.
	Open func(t testing.TB) Store
	// Exec runs SQL behind the store's back.
	Exec func(t testing.TB, sql string)
	// Schema is the prefix of table names: "" or "claudemesh.".
	Schema string
}

// Run runs the suite. fresh makes an empty database.
func Run(t *testing.T, fresh func(t testing.TB) Database) {
	tests := []struct {
		name string
		run  func(t *testing.T, db Database)
	}{
		{"meshes", testMeshes},
		{"members", testMembers},
		{"invites", testInvites},
		{"redeem", testRedeem},
		{"redeem concurrently", testRedeemConcurrently},
		{"redeem one key concurrently", testRedeemOneKey},
		{"redeem one key by two invites", testRedeemTwoInvites},
		{"presences", testPresences},
		{"claimed presences", testClaimedPresences},
		{"known sessions", testKnownSessions},
		{"prune presences", testPrunePresences},
		{"message round trip", testRoundTrip},
		{"backlog", testBacklog},
		{"backlog of one mailbox", testBacklogIsolation},
		{"settle", testSettle},
		{"settle within a batch", testSettleWithin},
		{"one body, several recipients", testSharedBody},
		{"burden", testBurden},
		{"depth", testDepth},
		{"attestation of a message", testMessageAttestation},
		{"closed mailboxes", testClosed},
		{"delivered at once", testDeliveredAtOnce},
		{"duplicates", testDuplicates},
		{"duplicates within a batch", testDuplicatesWithin},
		{"duplicates concern one member", testDuplicatesScope},
		{"the same batch again", testRecommit},
		{"find", testFind},
		{"sent", testSent},
		{"mark", testMark},
		{"seq per mesh", testSeqPerMesh},
		{"sweep", testSweep},
		{"sweep after a jump of the clock", testSweepAfterClockJump},
		{"sweep to exhaustion", testSweepExhaustion},
		{"hellos", testHellos},
		{"audit", testAudit},
		{"forked audit", testForked},
		{"notes of the audit log", testAuditNotes},
		{"pruned audit", testPrunedAudit},
		{"atomic commit", testAtomic},
		{"large batch", testLargeBatch},
		{"concurrent commits", testConcurrentCommits},
		{"awkward text", testText},
		{"large bodies", testLargeBodies},
		{"persistence", testPersistence},
		{"claim", testClaim},
		{"check", testCheck},
		{"claim before migrate", testClaimFirst},
		{"newer schema", testNewerSchema},
		{"migrate concurrently", testMigrateConcurrently},
		{"canceled context", testCanceled},
		{"closed store", testClosedStore},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, fresh(t))
		})
	}
}

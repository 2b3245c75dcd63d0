package storagetest

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// UpgradeOneSequence checks that a database with one sequence of deliveries for all meshes
// continues with a sequence for each mesh. db contains testdata/one_sequence.sql.
func UpgradeOneSequence(t *testing.T, db Database) {
	ctx := t.Context()
	s := ready(t, db)
	id := func(hex string) wire.ID { return must[wire.ID](t)(wire.ParseID(hex)) }
	hello := journal.Hello{At: time.UnixMilli(1_900_000_000_100).UTC()}
	for i := range hello.Signature {
		hello.Signature[i] = 5
	}
	// These values are in testdata/one_sequence.sql.
	newest := id("01900000000070008000000000000003")
	for seq, meshID := range map[int64]wire.ID{20: {1}, 21: {2}} {
		equal(t, "mark", must[queue.Mark](t)(s.Mark(ctx, meshID)), queue.Mark{Seq: 30, Message: newest})
		list := waiting(t, s, meshID, "s/a")
		if len(list) != 1 || list[0].Seq != seq || list[0].Message.Ciphertext != "Ym9keQ==" {
			t.Fatalf("mesh %s: got waiting messages %+v", meshID, list)
		}
		// The older broker did not store the mesh of a hello.
		equal(t, "hellos", must[[]journal.Hello](t)(s.Hellos(ctx, meshID, hello.At)), []journal.Hello{hello})
	}
	commit(t, s, journal.Batch{Settled: []queue.Settlement{{Mesh: wire.ID{1}, Seq: 20, State: queue.Delivered, At: now}}})
	equal(t, "settled", len(waiting(t, s, wire.ID{1}, "s/a")), 0)
	equal(t, "of the other mesh", len(waiting(t, s, wire.ID{2}, "s/a")), 1)
	wantBodies(t, db, "1")

	next := message(wire.ID{2}, "s/a")
	next.Recipients[0].Seq = 31
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{next}})
	equal(t, "mark", must[queue.Mark](t)(s.Mark(ctx, wire.ID{2})), queue.Mark{Seq: 31, Message: next.ID})
	equal(t, "of the other mesh", must[queue.Mark](t)(s.Mark(ctx, wire.ID{1})), queue.Mark{Seq: 30, Message: newest})
	first := message(wire.ID{3}, "s/a")
	first.Recipients[0].Seq = 20 // settled, of another mesh
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{first}})
	equal(t, "in a new mesh", len(waiting(t, s, wire.ID{3}, "s/a")), 1)

	check(t, s.ForgetHellos(ctx, hello.At.Add(time.Millisecond)))
	equal(t, "hellos", len(must[[]journal.Hello](t)(s.Hellos(ctx, wire.ID{1}, hello.At))), 0)
}

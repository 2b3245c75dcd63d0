// Package audit implements the audit log: one append-only hash chain per mesh. The
// log records which messages were routed and which peers and members joined and left.
// It never records a message's content.
//
// # Files
//
//	audit.go       kinds of entries, entries, heads, the store
//	detail.go      what an entry of each kind tells
//	chain.go       the hash, and how a chain grows
//	verify.go      whether a chain is intact
//	row.go         entries on the wire
//	key.go         the key that signs checkpoints
//	note.go        checkpoints and announced restores as signed notes
//	compare.go     compares what a client has kept with what a broker shows
//	restore.go     an operator announces a restore
//	export.go      exports as JSON lines, and what they prove
//	exportmesh.go  writes the export of a mesh
//
// # The hash
//
// The hash of an entry is the SHA-256 of the following fields, concatenated.
// Integers are big-endian, times are Unix milliseconds in two's complement:
//
//	offset  size  field
//	0       1     version of this encoding, 1
//	1       16    mesh id
//	17      8     sequence number: 1 for the first entry of a mesh, then ascending by 1
//	25      8     time
//	33      4+k   kind:   its length in bytes (4), then its k bytes of UTF-8
//	..      4+a   actor:  likewise
//	..      4+d   detail: likewise, exactly as it is stored
//	..      32    hash of the previous entry, zeros for the first
//
// Every text follows its length, so different entries never have the same bytes.
//
// # What a chain proves
//
// The storage records the number and hash of the newest entry, the head, next to the
// chain. [VerifyMesh] finds an entry that was changed, removed, inserted or moved, and
// a tail that was cut off or added. An attacker who can write to the database can
// still compute a whole new chain with a new head. To detect that, clients keep signed
// checkpoints.
//
// # Checkpoints
//
// A checkpoint is a head that the broker has signed with its [Key], in the form of C2SP's
// tlog-checkpoint. Clients keep the newest one, and [Kept.Compare] it with those that the
// broker shows later: a log that was rewritten or cut off contradicts what they have kept.
// An operator who restores a backup announces it with [AnnounceRestore].
//
// # Concurrency
//
// Every function is pure or only reads a [Store]. A caller that extends a chain must
// make sure that nobody else extends it at the same time.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package audit

// Package audit is the log of what was routed and of who came and went: one
// hash chain per mesh, append only, without a word of what was said.
//
// # The hash
//
// The hash of an entry is the SHA-256 of these bytes, one after the other.
// Integers are big-endian, times are Unix milliseconds in two's complement:
//
//	offset  size  field
//	0       1     version of this encoding, 1
//	1       16    mesh id
//	17      8     sequence number: 1 for the first entry of a mesh, then 1 more each
//	25      8     time
//	33      4+k   kind:   its length in bytes (4), then its k bytes of UTF-8
//	..      4+a   actor:  likewise
//	..      4+d   detail: likewise, exactly as it is stored
//	..      32    hash of the entry before, zeros for the first
//
// Every text has its length before it, so no two entries have the same bytes.
//
// # What a chain proves
//
// The number and hash of the newest entry, the head, are recorded beside the
// chain. [VerifyMesh] finds an entry that was changed, removed, inserted or
// moved, and a tail that was cut off or added. Whoever can write to the database
// can still compute a whole new chain with a new head; against that helps only
// to keep the head of a [Report] somewhere else and to compare.
//
// # Concurrency
//
// Everything here is a pure function of its arguments or reads a [Store];
// whoever extends a chain sees to it that nobody else does.
package audit

// Package column converts domain values to columns and back, in the same way for both
// storages. Zero values are NULL, times are Unix milliseconds, lists and maps are JSON,
// and texts contain only what both databases can store.
//
// The scanners work with rows of both database/sql and pgx.
//
// # Files
//
//	value.go    texts, keys and times as columns
//	json.go     lists and maps as JSON
//	scan.go     columns as domain values
//	rows.go     rows as meshes, messages, presences, entries
//	settled.go  the settled recipients of a message in one column
package column

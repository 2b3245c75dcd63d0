// Package column converts domain values to columns and back, in the same way for both
// storages. Zero values are NULL, times are Unix milliseconds, lists and maps are JSON,
// and texts contain only what both databases can store.
//
// The scanners work with rows of both database/sql and pgx.
package column

// Package column turns values of the domain into columns and back, in the same
// way for both storages: what is zero is NULL, times are Unix milliseconds,
// lists and maps are JSON, and text is what both databases can hold.
//
// The scanners work for database/sql and for pgx rows alike.
package column

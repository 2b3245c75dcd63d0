// Package move copies the database of a broker from SQLite to Postgres.
//
// # Files
//
//	move.go     copies the tables, row by row
//	table.go    the tables, their columns, how values are converted
//	compare.go  compares the rows of both databases
//
// # Resuming
//
// A move copies one table after the other, each in the order of its key and in transactions
// of some rows. So a table of the target always has the first rows of the source's, and a
// move that was interrupted goes on after the last of them.
//
// # Completeness
//
// The meshes, their members and their invites come last, in one transaction, after every
// row of the other tables has been read from both databases and compared. Before that, no
// client finds its mesh in the target.
//
// The caller has claimed both databases, so no broker changes them meanwhile.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package move

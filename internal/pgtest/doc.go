// Package pgtest gives tests a real Postgres.
//
// DSN creates an empty database for a test. It is on the server that the environment
// variable CLAUDEMESH_TEST_POSTGRES names or, without the variable, on a private cluster
// that the test process starts once and shares. A package that uses DSN should have
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// to remove the shared cluster's files in the end; the cluster itself always ends with
// the process. Start gives a test its own cluster, which the test may stop, kill, restart
// and freeze.
//
// On a machine without Postgres, the tests fail; they never pass silently. If the tests
// run as root, the clusters run as the user postgres or nobody, since Postgres refuses to
// run as root. Linux only.
//
// # Files
//
//	pgtest.go   databases and servers for tests
//	cluster.go  creates, starts and ends a cluster
//	standby.go  a standby follows a primary
//	pooler.go   a pooler in front of a server
//	backup.go   runs an operator's scripts of backup and restore
package pgtest

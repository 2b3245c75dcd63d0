// Package pgtest gives tests a real Postgres.
//
// DSN makes an empty database of a test's own, on the server that the environment
// variable CLAUDEMESH_TEST_POSTGRES names, or else on a private cluster that the
// test process starts once and shares. A package that uses it should have
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// so that the shared cluster's files are removed in the end; the cluster itself
// dies with the process in any case. Start gives a test a cluster of its own, which
// it may stop, kill, restart and freeze.
//
// A machine without Postgres makes the tests fail, never pass silently. When the
// tests run as root, the clusters run as the user postgres or nobody, since
// Postgres refuses to be root. Linux only.
package pgtest

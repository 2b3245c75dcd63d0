// Package claude holds the tests of what Claude Code sessions do with claudemesh:
// real brokers, real daemons, and the stand-in of Claude Code or the real program,
// with a mock of the Messages API. Each scenario is written once and runs in both.
//
// A message counts as arrived when it stands in a request to the mock: that is what
// a model sees.
package claude

// Package claude tests claudemesh in Claude Code sessions, with real brokers, real daemons
// and a mock of the Messages API. Each scenario runs both with the stand-in for Claude Code
// and with the real program.
//
// A message counts as received when a request to the mock contains it: a model sees exactly
// these requests.
package claude

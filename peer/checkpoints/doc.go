// Package checkpoints keeps the signed checkpoints of audit logs that this user's brokers have
// shown, in one file for all programs of the user, and finds a broker that later shows a log
// that contradicts them. Package audit has the rules.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package checkpoints

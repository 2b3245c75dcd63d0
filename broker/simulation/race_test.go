//go:build race

package simulation

// perRun is how many schedules a run has: each costs about eight times as much with
// the race detector.
const perRun = 200

//go:build !race

package simulation

// perRun is how many schedules a run has.
const perRun = 1500

//go:build !race

package simulation

// perRun is the number of schedules in a run.
const perRun = 1500

const raceDetector = false

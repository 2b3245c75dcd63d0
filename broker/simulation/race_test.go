//go:build race

package simulation

// perRun is the number of schedules in a run. With the race detector, each schedule costs about
// eight times as much.
const perRun = 200

const raceDetector = true

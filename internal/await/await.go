// Package await lets tests wait for conditions.
//
// A passing test waits no longer than it must, so the time limit is generous: it only
// ends a test that has already failed, and no machine is slow enough to reach it.
package await

import (
	"testing"
	"time"
)

const (
	// Patience is the longest time that a test waits for a condition.
	Patience = 2 * time.Minute
	// BuildPatience is the same for a build, which takes minutes on a busy machine without a cache.
	BuildPatience = 15 * time.Minute
	// poll is the pause between two checks of a condition.
	poll = 20 * time.Millisecond
)

// Until waits until ok returns true. If it doesn't within Patience, the test fails with
// what and with the results of the instead functions.
func Until(t testing.TB, what string, ok func() bool, instead ...func() string) {
	t.Helper()
	until(t, Patience, what, ok, instead)
}

// UntilBuilt is Until for what needs a build first. It waits for BuildPatience.
func UntilBuilt(t testing.TB, what string, ok func() bool, instead ...func() string) {
	t.Helper()
	until(t, BuildPatience, what, ok, instead)
}

func until(t testing.TB, patience time.Duration, what string, ok func() bool, instead []func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			message := "timed out waiting until " + what
			for _, saw := range instead {
				message += "; instead:\n" + saw()
			}
			t.Fatal(message)
		}
		<-time.After(poll)
	}
}

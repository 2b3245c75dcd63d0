// Package await says how tests wait for what must happen.
//
// A test that passes waits no longer than it has to, so the bound is generous: it
// ends a test that has failed, and no machine is slow enough to reach it.
package await

import (
	"testing"
	"time"
)

const (
	// Patience is the longest that a test waits for anything that must happen.
	Patience = 2 * time.Minute
	// poll is the pause between two looks at what can't be waited for.
	poll = 20 * time.Millisecond
)

// Until waits until ok returns true. If it never does, the test fails with what was
// waited for, and with what the instead functions saw.
func Until(t testing.TB, what string, ok func() bool, instead ...func() string) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !ok(); {
		if time.Now().After(deadline) {
			message := "waited in vain until " + what
			for _, saw := range instead {
				message += "; instead:\n" + saw()
			}
			t.Fatal(message)
		}
		<-time.After(poll)
	}
}

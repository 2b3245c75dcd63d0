package harness

import (
	"regexp"
	"testing"
)

var crash = regexp.MustCompile(`DATA RACE|panic|goroutine \d+`)

// CheckLog fails the test if the log of a program that has ended shows a panic or a data race. If the test
// has failed, it prints the end of the log.
func CheckLog(t testing.TB, program, log string) {
	t.Helper()
	if sign := crash.FindString(log); sign != "" {
		t.Errorf("%q is in the log of %s", sign, program)
	}
	if t.Failed() {
		t.Logf("log of %s:\n%s", program, tail(log))
	}
}

// tail returns the end of a log.
func tail(log string) string { return log[max(0, len(log)-8000):] }

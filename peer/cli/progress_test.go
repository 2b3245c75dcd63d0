package cli

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress checks that a command says what it waits for only after a while, and nothing after
// its end.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var errOut bytes.Buffer
		a := &app{err: &errOut}
		quick := a.waiting("a quick step")
		quick.done()
		slow := a.waiting("a slow step")
		time.Sleep(sayAfter) // on the clock of the bubble
		synctest.Wait()
		slow.because("no\x1b route")
		slow.because("no\x1b route")
		slow.next("the next step")
		slow.done()
		slow.next("a step after the end")
		time.Sleep(sayAfter) // on the clock of the bubble
		synctest.Wait()
		if want := "claudemesh: a slow step\nclaudemesh: a slow step (no\\u{1B} route)\nclaudemesh: the next step\n"; errOut.String() != want {
			t.Errorf("said %q, want %q", errOut.String(), want)
		}
	})
}

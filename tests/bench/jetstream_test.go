package main

import (
	"testing"
	"time"
)

// TestJetStreamRate publishes to a real server, in both layouts.
func TestJetStreamRate(t *testing.T) {
	t.Parallel()
	for _, layout := range []jetStreams{oneStream, streamPerPair} {
		problems := perform(t.Context(), func(s *stage) {
			if rate := jetStreamRate(s, layout, 3, 4, 100*time.Millisecond); rate <= 0 {
				t.Errorf("%s: %g messages per second", layout, rate)
			}
		})
		if len(problems) > 0 {
			t.Errorf("%s: %v", layout, problems)
		}
	}
}

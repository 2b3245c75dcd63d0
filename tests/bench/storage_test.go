package main

import (
	"bytes"
	"testing"
	"time"
)

// TestStorageRate runs ceiling S on SQLite with both paths, for a few batches.
func TestStorageRate(t *testing.T) {
	t.Parallel()
	for _, p := range []path{pathLive, pathQueued} {
		problems := perform(t.Context(), func(s *stage) {
			l := &lab{results: newResults(), log: new(bytes.Buffer)}
			if rate := l.storageRate(s, sqliteDB, p, time.Millisecond); rate <= 0 {
				t.Errorf("%s: %g messages per second", p, rate)
			}
		})
		if len(problems) > 0 {
			t.Errorf("%s: %v", p, problems)
		}
	}
}

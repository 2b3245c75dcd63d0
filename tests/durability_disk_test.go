package tests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/claudemesh/claudemesh/internal/disktest"
)

// TestFullDisk fills the disk of the SQLite database and then frees space again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	disk := filepath.Join(s.Home, "data")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	disktest.Small(t, disk)
	t.Cleanup(s.Kill)
	s.Start()
	filler := filepath.Join(disk, "filler")
	outage(t, s, func() { disktest.Fill(t, filler) }, func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	})
}

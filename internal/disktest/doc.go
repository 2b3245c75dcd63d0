// Package disktest gives tests full disks and read-only files, until the test ends, and tells
// whether a file is locked. It skips a test that may not mount file systems.
package disktest

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// Fill writes a file until its disk is full.
func Fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 32 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}

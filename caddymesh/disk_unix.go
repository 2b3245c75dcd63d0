//go:build linux || darwin

package caddymesh

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// freeBytes returns the space on a file's file system that this process may still use.
func freeBytes(path string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		return 0, err
	}
	return fs.Bavail * uint64(fs.Bsize), nil
}

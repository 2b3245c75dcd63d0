//go:build !linux

package process

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// CanTellLocker reports whether Locker finds the processes of this system.
const CanTellLocker = false

// Locker always returns false: this system does not tell who holds a lock.
func Locker(string) (pid int, found bool) { return 0, false }

// Program returns the name of the program that a process runs, or "" if it can't be read.
func Program(pid int) string {
	out, err := exec.Command("ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output()
	if name := strings.TrimSpace(string(out)); err == nil && name != "" {
		return filepath.Base(name)
	}
	return ""
}

// Boot returns "", since this system has no boot ID.
func Boot() string { return "" }

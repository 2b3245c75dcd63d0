//go:build !linux && !darwin

package lineage

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// parent returns the parent of a process, according to ps.
func parent(pid int) (int, error) {
	if pid == os.Getpid() {
		return os.Getppid(), nil
	}
	out, err := exec.Command("ps", "-o", "ppid=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, fmt.Errorf("find the parent of process %d: %w", pid, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

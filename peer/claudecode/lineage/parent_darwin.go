package lineage

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// parent returns the parent of a process, by sysctl(3), kern.proc.pid.
func parent(pid int) (int, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return 0, fmt.Errorf("find the parent of process %d: %w", pid, err)
	}
	return int(info.Eproc.Ppid), nil
}

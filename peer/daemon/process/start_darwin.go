package process

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// zombie is SZOMB of sys/proc.h.
const zombie = 5

// startOf asks the kernel by sysctl(3), kern.proc.pid.
func startOf(pid int) (string, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EIO) { // the latter: an empty answer
		return "", ErrGone
	}
	if err != nil {
		return "", err
	}
	if info.Proc.P_stat == zombie {
		return "", ErrGone
	}
	at := info.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", at.Sec, at.Usec), nil
}

package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// CanTellLocker reports whether Locker finds the processes of this system.
const CanTellLocker = true

// Locker returns the process that holds a flock(2) lock on a file. The result is false if no
// process visible here holds it; a process of another container or machine may.
func Locker(path string) (pid int, found bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return 0, false
	}
	defer locks.Close()
	return parseLocks(locks, fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino))
}

// parseLocks returns the process that locks a file, from lines in the format of
// proc_locks(5):
//
//	1: FLOCK  ADVISORY  WRITE 4711 fe:00:131090 0 EOF
//
// A line about a process that waits for a lock has an arrow as well, "1: -> FLOCK ...".
func parseLocks(locks io.Reader, file string) (pid int, found bool) {
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || fields[5] != file {
			continue
		}
		if pid, err := strconv.Atoi(fields[4]); err == nil && pid > 0 {
			return pid, true
		}
	}
	return 0, false
}

// Program returns the name of the program that a process runs, or "" if it can't be read.
func Program(pid int) string {
	name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSpace(string(name))
}

// Boot returns the ID of the system's current boot, or "" if it is unknown. Processes of two
// containers on one system share it.
func Boot() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

package lineage

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// parent returns the parent of a process: field 4 of /proc/<pid>/stat, see
// proc_pid_stat(5).
func parent(pid int) (int, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("find the parent of process %d: %w", pid, err)
	}
	// The name in parentheses may contain anything; the state and the parent follow it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, fmt.Errorf("find the parent of process %d: stat has %d fields after the name", pid, len(fields))
	}
	return strconv.Atoi(string(fields[1]))
}

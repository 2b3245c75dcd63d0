package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// startOf reads field 22 of /proc/<pid>/stat; see proc_pid_stat(5).
func startOf(pid int) (string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", ErrGone
	}
	if err != nil {
		return "", err
	}
	return parseStat(stat)
}

// parseStat returns the start, or ErrGone for a zombie.
func parseStat(stat []byte) (string, error) {
	// Field 2 is the name in parentheses. It may contain anything, including ')' and ' '. The
	// text after its last ')' starts with field 3, the state.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return "", fmt.Errorf("stat has no name: %.80q", stat)
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("stat has %d fields after the name, not 20", len(fields))
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' || state == 'x' {
		return "", ErrGone
	}
	return string(fields[19]), nil
}

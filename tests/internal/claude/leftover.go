package claude

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leave is how long a session's processes may outlive it.
const leave = 10 * time.Second

// endRest kills the processes that still run in the home after the test: a killed Claude Code
// leaves its monitors behind, and its last hook may have started a daemon. It fails the test if a
// claudemesh process of a session hasn't ended by itself.
func (h *Home) endRest(t testing.TB) {
	belowSession := func(pid int) bool {
		return filepath.Base(executable(pid)) == "claudemesh" && !strings.Contains(commandLine(pid), " daemon run ")
	}
	for deadline := time.Now().Add(leave); time.Now().Before(deadline) && slices.ContainsFunc(h.processes(), belowSession); {
		<-time.After(poll)
	}
	for deadline := time.Now().Add(leave); time.Now().Before(deadline); {
		rest := h.processes()
		if len(rest) == 0 {
			return
		}
		for _, pid := range rest {
			if belowSession(pid) {
				t.Errorf("process %d is left: %q", pid, commandLine(pid))
			}
			_ = syscall.Kill(pid, syscall.SIGKILL) // fails if it has ended
		}
		<-time.After(poll)
	}
}

// processes returns the processes with this HOME. Without /proc it finds none.
func (h *Home) processes() (pids []int) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	own := []byte("HOME=" + h.Dir)
	for _, file := range files {
		env, err := os.ReadFile(file) // fails for other users' processes
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, own) }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// executable returns the path of a process's program, "" if the process has ended.
func executable(pid int) string {
	path, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return ""
	}
	return path
}

func commandLine(pid int) string {
	return strings.ReplaceAll(readText("/proc/"+strconv.Itoa(pid)+"/cmdline"), "\x00", " ")
}

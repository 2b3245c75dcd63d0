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

// leave is how long what belongs to a session may outlive it.
const leave = 10 * time.Second

// endRest ends what still runs in the home when the test is over: Claude Code that is
// killed leaves its monitors behind, and its last hook may have started a daemon.
// What claudemesh runs below a session must end by itself.
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
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		<-time.After(poll)
	}
}

// processes returns those whose HOME this is. Without /proc it finds none.
func (h *Home) processes() (pids []int) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	own := []byte("HOME=" + h.Dir)
	for _, file := range files {
		env, err := os.ReadFile(file) // others' can't be read
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, own) }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// executable is the path of a process's program; "" when it has ended.
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

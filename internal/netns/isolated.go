package netns

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
)

// isolatedVariable is the environment variable that tells a process that it is isolated.
const isolatedVariable = "CLAUDEMESH_TEST_ISOLATED"

// Isolated runs the test once more, in a process with its own network, its own process ids and its own
// directory for temporary files, and returns false. In that process it returns true. args are further
// arguments for the test binary, and env is further environment. Isolated skips the test without root.
func Isolated(t *testing.T, args, env []string) bool {
	t.Helper()
	if os.Getenv(isolatedVariable) != "" {
		if err := showOwnProcesses(); err != nil {
			t.Fatalf("netns: %v", err)
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root: run this test as root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skipf("network namespaces need the command ip, on Debian: sudo apt-get install iproute2 (%v)", err)
	}
	dir, err := os.MkdirTemp("", "netns-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // Postgres runs as another user
		t.Fatal(err)
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", append([]string{"-test.run=^" + t.Name() + "$", "-test.timeout=0"}, args...)...)
	cmd.Env = append(append(os.Environ(), env...), isolatedVariable+"=1", "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the test in namespaces of its own: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case sig := <-interrupts:
		_ = cmd.Process.Kill() // with it, the kernel kills all processes of the namespace
		err = fmt.Errorf("%v: %w", sig, <-ended)
	}
	if err != nil {
		t.Errorf("the test in namespaces of its own: %v", err)
	}
	return false
}

// showOwnProcesses makes /proc show the processes of this process's namespace.
func showOwnProcesses() error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return os.NewSyscallError("mount", syscall.Mount("proc", "/proc", "proc", 0, ""))
}

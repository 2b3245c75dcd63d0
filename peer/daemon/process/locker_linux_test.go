package process

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestLocker(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if pid, found := Locker(path); found {
		t.Errorf("an unlocked file is held by %d", pid)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if pid, found := Locker(path); !found || pid != os.Getpid() {
		t.Errorf("held by %d, %v; want %d", pid, found, os.Getpid())
	}
	if name := Program(os.Getpid()); !strings.HasPrefix(filepath.Base(os.Args[0]), name) || name == "" {
		t.Errorf("this program is %q", name)
	}
}

func TestParseLocks(t *testing.T) {
	t.Parallel()
	const locks = `1: POSIX  ADVISORY  WRITE 11 fe:00:7 0 EOF
2: FLOCK  ADVISORY  WRITE 0 fe:00:7 0 EOF
3: FLOCK  ADVISORY  WRITE 12 fe:00:70 0 EOF
4: FLOCK  ADVISORY  WRITE 13 fe:00:7 0 EOF
4: -> FLOCK  ADVISORY  WRITE 14 fe:00:7 0 EOF
broken
`
	if pid, found := parseLocks(strings.NewReader(locks), "fe:00:7"); !found || pid != 13 {
		t.Errorf("parseLocks = %d, %v; want 13, true", pid, found)
	}
	if pid, found := parseLocks(strings.NewReader(locks), "fe:00:8"); found {
		t.Errorf("got holder %d of a file that is not locked", pid)
	}
}

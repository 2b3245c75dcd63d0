package disktest

import (
	"errors"
	"sync"
	"syscall"
	"testing"
)

// Small mounts a file system of 16 MiB on a directory.
func Small(t testing.TB, dir string) {
	t.Helper()
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=16m,mode=0700")
	t.Cleanup(unmount(t, dir))
}

// Busy mounts a file or directory on itself, so that nothing can replace it until end is
// called or the test ends.
func Busy(t testing.TB, path string) (end func()) {
	t.Helper()
	mount(t, path, path, "", syscall.MS_BIND, "")
	end = unmount(t, path)
	t.Cleanup(end)
	return end
}

// ReadOnly is like Busy, but also makes the file or directory read-only.
func ReadOnly(t testing.TB, path string) (end func()) {
	t.Helper()
	end = Busy(t, path)
	mount(t, path, path, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
	return end
}

func mount(t testing.TB, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount(source, target, fstype, flags, data); errors.Is(err, syscall.EPERM) {
		t.Skipf("mounting needs root: %v", err)
	} else if err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
}

func unmount(t testing.TB, path string) func() {
	return sync.OnceFunc(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
	})
}

package doortest

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

const (
	// lostAfter is how long a connection may take before its packets count as lost: the kernel answers
	// at once, or not at all.
	lostAfter = time.Second
	// queueAtMost is how many connections the shortest queue of a kernel holds.
	queueAtMost = 16
)

// Blackhole returns a listener at a loopback address that nobody reaches: its queue is full, so the kernel
// drops what asks for a further connection. Answer makes it work; the first connections say nothing and
// end with the test.
func Blackhole(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := shortest()
	if err != nil {
		tb.Fatalf("doortest: %v", err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	for range queueAtMost {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), lostAfter)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			return l
		}
		if err != nil {
			tb.Skipf("doortest: the kernel answers although the queue is full: %v", err)
		}
		tb.Cleanup(func() { _ = conn.Close() })
	}
	tb.Skip("doortest: the kernel ignores that the queue is full")
	panic("unreachable")
}

// shortest makes a listener with the shortest queue.
func shortest() (*net.TCPListener, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	raw, err := l.SyscallConn()
	if err == nil {
		var shortened error
		err = raw.Control(func(fd uintptr) { shortened = os.NewSyscallError("listen", syscall.Listen(int(fd), 0)) })
		err = errors.Join(err, shortened)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

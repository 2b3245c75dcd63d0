package harness

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// By default, neither Linux nor macOS uses these ports for outgoing connections. So a port stays
// free while the program that listens on it restarts.
const firstPort, endPort = 10_000, 32_768

var givenPorts sync.Map

// FreePort returns an unused TCP port. It returns each port only once per process.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(endPort-firstPort)
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port)) //nolint:gosec // on all interfaces, as some programs do
		if err != nil {
			continue
		}
		_ = l.Close()
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port
		}
	}
	t.Fatalf("no free port between %d and %d", firstPort, endPort-1)
	return 0
}

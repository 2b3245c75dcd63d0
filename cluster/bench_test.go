package cluster

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
)

// BenchmarkRoundTrip compares a socket that its owner has with one that is relayed to it.
func BenchmarkRoundTrip(b *testing.B) {
	_, edge, owner, mesh := edgeAndOwner(b)
	for _, size := range []int{100, 1000, 16_000} {
		b.Run(fmt.Sprintf("direct/%d", size), func(b *testing.B) {
			near, far := tcpPair(b)
			roundTrips(b, near, far, size)
		})
		b.Run(fmt.Sprintf("relayed/%d", size), func(b *testing.B) {
			client := edge.connect(b, mesh, "")
			roundTrips(b, client, owner.next(b), size)
		})
	}
}

func roundTrips(b *testing.B, client, server net.Conn, size int) {
	b.Helper()
	go func() {
		buf := make([]byte, size)
		for {
			if _, err := io.ReadFull(server, buf); err != nil {
				return
			}
			if _, err := server.Write(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, size)
	b.ReportAllocs()
	b.SetBytes(int64(2 * size))
	for b.Loop() {
		if _, err := client.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = server.Close()
}

// BenchmarkIdle measures what an idle relayed socket costs both nodes together, with all of
// them in this process.
func BenchmarkIdle(b *testing.B) {
	_, edge, owner, mesh := edgeAndOwner(b)
	const sockets = 2000
	for b.Loop() {
		heap, stacks := memory()
		for range sockets {
			client := edge.connect(b, mesh, "hello")
			s := owner.next(b)
			expect(b, s, "hello")
			send(b, s, "hello")
			expect(b, client, "hello")
		}
		moreHeap, moreStacks := memory()
		b.ReportMetric(float64(moreHeap-heap)/sockets, "heap-B/socket")
		b.ReportMetric(float64(moreStacks-stacks)/sockets, "stack-B/socket")
	}
}

func memory() (heap, stacks uint64) {
	runtime.GC()
	runtime.GC() // stacks have shrunk
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.StackInuse
}

package storagetest

import (
	"fmt"
	"testing"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// Benchmark measures commits. The database should be on a disk and as durable as in
// production.
func Benchmark(b *testing.B, db Database) {
	s := ready(b, db)
	check(b, s.Claim(b.Context())) // commit like a broker
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("commit=%d", size), func(b *testing.B) { benchCommit(b, s, size) })
	}
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("settle=%d", size), func(b *testing.B) { benchSettle(b, s, size) })
	}
	b.Run("backlog=64", func(b *testing.B) {
		meshID := newID()
		commit(b, s, journal.Batch{Messages: load(meshID, 256)})
		box := queue.Mailbox{Mesh: meshID, Name: "s/0"}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Backlog(b.Context(), box, 0, false, 64); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// load makes messages of 1 kB from 16 senders to 4 mailboxes, each message with a client
// id.
func load(meshID wire.ID, n int) []*queue.Accepted {
	var senders [16]wire.ID
	for i := range senders {
		senders[i] = wire.ID{0: 1, 15: byte(i)}
	}
	list := make([]*queue.Accepted, n)
	for i := range list {
		m := message(meshID, fmt.Sprintf("s/%d", i%4))
		k := newKey()
		m.SenderMember, m.ClientID, m.Ciphertext = senders[i%len(senders)], k.String()[:36], repeat("0123456789abcdef", 64)
		list[i] = m
	}
	return list
}

func benchCommit(b *testing.B, s Store, size int) {
	meshID := newID()
	var head audit.Head
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		batch := journal.Batch{Messages: load(meshID, size), Audit: entries(meshID, head, size)}
		last := batch.Audit[size-1]
		head = audit.Head{Seq: last.Seq, Hash: last.Hash}
		b.StartTimer()
		commit(b, s, batch)
	}
	b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "messages/s")
}

func benchSettle(b *testing.B, s Store, size int) {
	meshID := newID()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		list := load(meshID, size)
		commit(b, s, journal.Batch{Messages: list})
		var settled []queue.Settlement
		for _, m := range list {
			settled = append(settled, settle(m, 0, queue.Delivered))
		}
		b.StartTimer()
		commit(b, s, journal.Batch{Settled: settled})
	}
	b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "settled/s")
}

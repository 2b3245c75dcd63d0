package postgres

import (
	"testing"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage/storagetest"
)

func BenchmarkStore(b *testing.B) {
	storagetest.Benchmark(b, database(pgtest.Start(b, pgtest.Durable()).DSN()))
}

package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/claudemesh/claudemesh/storage/storagetest"
)

func BenchmarkStore(b *testing.B) {
	path := filepath.Join(b.TempDir(), "mesh.db")
	storagetest.Benchmark(b, storagetest.Database{
		Open: func(t testing.TB) storagetest.Store { return open(t, path) },
	})
}

package envelope

import (
	"fmt"
	"testing"
)

func benchmarkSizes(b *testing.B, run func(b *testing.B, plaintext []byte)) {
	for _, size := range []int{10, 1 << 10, 48 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			run(b, make([]byte, size))
		})
	}
}

func BenchmarkSealDirect(b *testing.B) {
	from, to := generate(b), generate(b).Public()
	benchmarkSizes(b, func(b *testing.B, plaintext []byte) {
		for b.Loop() {
			if _, _, err := SealDirect(from, to, plaintext); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpenDirect(b *testing.B) {
	from, to := generate(b), generate(b)
	benchmarkSizes(b, func(b *testing.B, plaintext []byte) {
		nonce, ciphertext, err := SealDirect(from, to.Public(), plaintext)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := OpenDirect(to, from.Public(), nonce, ciphertext); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSealMesh(b *testing.B) {
	key := NewMeshKey()
	benchmarkSizes(b, func(b *testing.B, plaintext []byte) {
		for b.Loop() {
			if _, _, err := SealMesh(key, plaintext); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpenMesh(b *testing.B) {
	key := NewMeshKey()
	benchmarkSizes(b, func(b *testing.B, plaintext []byte) {
		nonce, ciphertext, err := SealMesh(key, plaintext)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := OpenMesh(key, nonce, ciphertext); err != nil {
				b.Fatal(err)
			}
		}
	})
}

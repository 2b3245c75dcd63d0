package identity

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"
)

// TestCreateReplacesNothing checks the case that a program that doesn't use the lock has created
// the file.
func TestCreateReplacesNothing(t *testing.T) {
	t.Parallel()
	name := sessionName{"team", "0b0e7a52-93a1-4f6e-8f0b-6a2c9d1e4f30"}
	dir, err := makeSessionDir(t.TempDir(), name.slug)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.close()
	first, second := SessionKey{Pair: generate(t)}, SessionKey{Pair: generate(t)}
	if err := dir.createLocked(name, first); err != nil {
		t.Fatal(err)
	}
	if err := dir.createLocked(name, second); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if stored, err := dir.load(name); err != nil || stored.Pair.Public() != first.Pair.Public() {
		t.Errorf("stored %v, %v", stored.Pair, err)
	}
}

func FuzzParseSession(f *testing.F) {
	name := sessionName{"team", "0b0e7a52-93a1-4f6e-8f0b-6a2c9d1e4f30"}
	key := SessionKey{Pair: FromSeed([SeedSize]byte{1}), CreatedAt: time.UnixMilli(1795460356414)}
	good, err := encodeSession(name, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(strings.Replace(string(good), "team", "other", 1)))
	f.Add([]byte(strings.Replace(string(good), "2026", "9999999", 1)))
	f.Add([]byte("{}"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseSession(b, name)
		if err != nil {
			if !got.Pair.IsZero() {
				t.Fatal("a key came with an error")
			}
			return
		}
		if k, err := ParseSecret(got.Pair.SecretHex()); err != nil || k.Public() != got.Pair.Public() {
			t.Fatalf("not a key: %v", err)
		}
		again, err := encodeSession(name, got)
		if err != nil {
			t.Fatal(err)
		}
		// Years before 0 and after 9999 don't round-trip and don't need to.
		if back, err := parseSession(again, name); err != nil || back.Pair.Public() != got.Pair.Public() {
			t.Fatalf("does not round-trip: %v", err)
		}
	})
}

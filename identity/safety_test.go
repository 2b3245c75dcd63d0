package identity_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// TestSafetyNumberIsTheSameEverywhere compares safety numbers with numbers that Python's hashlib
// calculated.
func TestSafetyNumberIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	var a, b wire.Key
	for i := range wire.KeySize {
		a[i], b[i] = byte(i), byte(i+wire.KeySize)
	}
	for mesh, want := range map[string]string{
		"mesh0001": "18500 51393 35388 22141 31755 60982 91385 78238 88032 57121 14690 74770",
		"méšh":     "51501 44908 87281 24242 35562 20930 59572 34953 11023 26384 45480 35887",
		"":         "16984 52274 74540 33745 59840 47296 72922 61477 19290 05791 56401 57611",
	} {
		if got := identity.SafetyNumber(mesh, a, b); got != want {
			t.Errorf("mesh %q: got %s", mesh, got)
		}
		if got := identity.SafetyNumber(mesh, b, a); got != want {
			t.Errorf("mesh %q, the other way round: got %s", mesh, got)
		}
	}
}

// TestSafetyNumberV1 compares a safety number with one that Python's hashlib calculated.
func TestSafetyNumberV1(t *testing.T) {
	t.Parallel()
	var a, b wire.Key
	for i := range wire.KeySize {
		a[i], b[i] = byte(i), byte(i+wire.KeySize)
	}
	const want = "40043 34099 62902 79494 63740 31454"
	if got := identity.SafetyNumberV1(a, b); got != want {
		t.Errorf("got %s", got)
	}
	if got := identity.SafetyNumberV1(b, a); got != want {
		t.Errorf("the other way round: got %s", got)
	}
}

func TestSafetyNumberTellsKeysApart(t *testing.T) {
	t.Parallel()
	shape := regexp.MustCompile(`^\d{5}( \d{5}){11}$`)
	a, b := generate(t).Public(), generate(t).Public()
	number := identity.SafetyNumber("mesh", a, b)
	if !shape.MatchString(number) {
		t.Errorf("got %q", number)
	}
	changed := b
	changed[31] ^= 1
	other := identity.SafetyNumber("mesh", a, changed)
	if other == number {
		t.Error("another key has the same number")
	}
	// The half of key a stays the same, so a person may recognize it from other comparisons.
	same := 0
	for _, half := range []string{number[:35], number[36:]} {
		if strings.Contains(other, half) {
			same++
		}
	}
	if same != 1 {
		t.Errorf("%d halves of %s are in %s", same, number, other)
	}
}

func BenchmarkSafetyNumber(b *testing.B) {
	x, y := generate(b).Public(), generate(b).Public()
	b.ReportAllocs()
	for b.Loop() {
		identity.SafetyNumber("mesh", x, y)
	}
}

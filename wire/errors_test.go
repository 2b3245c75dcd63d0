package wire_test

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/internal/constants"
	"github.com/claudemesh/claudemesh/wire"
)

// TestWordsAreListed checks that Codes and AckWords have each constant of their kind, in the same order.
func TestWordsAreListed(t *testing.T) {
	t.Parallel()
	if want := constants.Strings[wire.Code](t, "errors.go", "Code"); !slices.Equal(wire.Codes, want) {
		t.Errorf("Codes are %v; the constants are %v", wire.Codes, want)
	}
	if want := constants.Strings[string](t, "errors.go", "Ack"); !slices.Equal(wire.AckWords, want) {
		t.Errorf("AckWords are %v; the constants are %v", wire.AckWords, want)
	}
}

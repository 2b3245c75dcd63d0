package storage

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/internal/constants"
)

// TestReasonsAreListed checks that Reasons has each reason.
func TestReasonsAreListed(t *testing.T) {
	t.Parallel()
	if want := constants.Strings[Reason](t, "fault.go", ""); !slices.Equal(Reasons, want) {
		t.Errorf("Reasons are %v; the constants are %v", Reasons, want)
	}
}

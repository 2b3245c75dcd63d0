package peer

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// TestTargetsOfAPush checks that the targets of a push are read exactly as they were sent,
// or not at all.
func TestTargetsOfAPush(t *testing.T) {
	t.Parallel()
	key := newKey(t).Public().String()
	for spec, want := range map[string][]string{
		"": nil, "@ops": {"@ops"}, "@all": {"*"}, "*": {"*"}, "#topic": {"#topic"}, `["@ops","@all"]`: {"@ops", "*"}, `["@ops"]`: {"@ops"},
		`["@ops"`: nil, `[7]`: nil, "@a b": nil, "ops": nil, `["@ops","?"]`: nil,
	} {
		if got := targets(spec); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", spec, got, want)
		}
		want := spec
		if spec == "ops" {
			want = ""
		}
		if got := wire.ForMany(spec); got != want {
			t.Errorf("%s: accepted as targets %q", spec, got)
		}
	}
	if got := wire.ForMany(key); got != "" {
		t.Errorf("a key: accepted as targets %q", got)
	}
}

package caddymesh

import (
	"strings"
	"testing"
)

// TestMistakenFlags gives flags values that they do not take.
func TestMistakenFlags(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"status --json=perhaps":       `invalid argument "perhaps" for "--json" flag: must be true or false`,
		"sessions team --address foo": "the port is missing: give host:port, such as foo:2019",
	} {
		if _, err := command(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

package daemon

import (
	"errors"
	"fmt"
	"testing"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// TestLimitOfGroups checks that a session in the largest number of groups can join no other
// group, but can change its role in one.
func TestLimitOfGroups(t *testing.T) {
	t.Parallel()
	u := newUser(t, "alice").up()
	p := u.session()
	for i := range wire.MaxGroups {
		p.must(local.VerbJoinGroup, local.Group{Name: fmt.Sprint("g", i)}, nil)
	}
	var e *local.Error
	if err := p.call(local.VerbJoinGroup, local.Group{Name: "another"}, nil); !errors.As(err, &e) || e.Code != local.CodeRefused {
		t.Errorf("one group too many: %v", err)
	}
	p.must(local.VerbJoinGroup, local.Group{Name: "g0", Role: "lead"}, nil)
}

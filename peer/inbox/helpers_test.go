package inbox

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/claudemesh/claudemesh/internal/identitytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	newKey   = identitytest.Pair
	attested = identitytest.Attested
)

package hook

import (
	"context"
	"io"
	"os"

	"github.com/claudemesh/claudemesh/peer/claudecode/debuglog"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/claudecode/program"
	"github.com/claudemesh/claudemesh/peer/configdir"
	"github.com/claudemesh/claudemesh/peer/local"
)

// DeliverFlag is the argument of `claudemesh hook` that has it call [Hook.Deliver].
const DeliverFlag = "--deliver"

// Answer is the whole life of a hook's process: it reads the event on in and answers it.
// claudemesh is the path of the command, which delivers in a process of its own what can't
// be told in time.
func Answer(ctx context.Context, claudemesh, version string, in io.Reader, out, errOut io.Writer) {
	h, done := New(claudemesh, version, errOut)
	defer done()
	if h != nil {
		h.Detach = Spawn(h.PID, claudemesh, "hook", DeliverFlag)
		h.Run(ctx, in, out)
	}
}

// New returns the hook of this process, and what to call at its end; nil when there is
// no config directory.
func New(claudemesh, version string, errOut io.Writer) (h *Hook, done func()) {
	dir, err := configdir.Default()
	logf, done := debuglog.Open(dir, "hook", errOut)
	if err != nil {
		logf("%v", err)
		return nil, done
	}
	config, err := program.ConfigDir()
	if err != nil {
		logf("%v", err) // the daemon has one of its own
	}
	return &Hook{
		Dir: dir, PID: lineage.FromEnv(), ConfigDir: config, Env: os.Getenv, Build: local.BuildOf(claudemesh, version), Logf: logf,
	}, done
}

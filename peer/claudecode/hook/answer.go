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

// DeliverFlag is the argument with which `claudemesh hook` calls [Hook.Deliver].
const DeliverFlag = "--deliver"

// Answer is the main function of a hook: it reads the event from in and handles it.
// claudemesh is the path of the command, which Answer starts to deliver an event later if
// the hook can't do it in time.
func Answer(ctx context.Context, claudemesh, version string, in io.Reader, out, errOut io.Writer) {
	h, done := New(claudemesh, version, errOut)
	defer done()
	if h != nil {
		h.Detach = spawn(h.PID, claudemesh, "hook", DeliverFlag)
		h.Run(ctx, in, out)
	}
}

// New returns the hook of this process, and a function to call at its end. The hook is nil if
// there is no config directory.
func New(claudemesh, version string, errOut io.Writer) (h *Hook, done func()) {
	dir, err := configdir.Default()
	logf, done := debuglog.Open(dir, "hook", errOut)
	if err != nil {
		logf("%v", err)
		return nil, done
	}
	config, err := program.ConfigDir()
	if err != nil {
		logf("%v", err) // the daemon then uses its own
	}
	return &Hook{
		Dir: dir, PID: lineage.FromEnv(), ConfigDir: config, Env: os.Getenv, Build: local.BuildOf(claudemesh, version), Logf: logf,
	}, done
}

package main

import (
	"context"
	"strings"
	"sync"

	"github.com/claudemesh/claudemesh/peer/bench"
)

// meanwhile starts a bench of the member with a home, which puts load on the broker until end is
// called. end returns the bench's result. If the probe fails before, the bench ends with the stage,
// so that it doesn't disturb the next one.
func (l *lab) meanwhile(s *stage, home string, args ...string) (end func() *bench.Result) {
	ctx, interrupt := context.WithCancel(s.ctx)
	cmd := claudemesh(ctx, l.commands, home, benchArgs(args, "--duration", "1h")...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	s.check("start "+shown(args...), cmd.Start())
	wait := sync.OnceFunc(func() {
		interrupt()
		_ = cmd.Wait() // the result says more than this error
	})
	s.Cleanup(wait)
	return func() *bench.Result {
		wait()
		r, err := bench.Read(strings.NewReader(stdout.String()))
		if err != nil {
			s.Fatalf("%s: %v: %s", shown(args...), err, strings.TrimSpace(stderr.String()))
		}
		if !r.Interrupted {
			s.Fatalf("%s ended too early: %s", shown(args...), strings.TrimSpace(stderr.String()))
		}
		if failed := r.Failed(); len(failed) > 0 {
			s.Errorf("%s: messages were %s", shown(args...), strings.Join(failed, ", "))
		}
		return r
	}
}

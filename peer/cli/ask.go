package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// agree asks the user to confirm a step that can't be undone, and returns an error unless
// the answer is yes. yes is the flag -y: it answers for the user.
func (a *app) agree(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(a.in) || !isTerminal(a.err) {
		return usagef("this needs your confirmation, and there is no terminal to ask on; nothing was changed; add -y to confirm")
	}
	answer, err := (&form{ctx, a.in, a.err}).text(question+" Type yes to continue", "no")
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "yes", "y":
		return nil
	}
	return errors.New("canceled; nothing was changed")
}

// yesFlag adds -y, the answer to agree.
func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "don't ask for confirmation")
}

// interruptible runs read, and returns early if ctx ends. Nothing can interrupt a read from
// a terminal, so its goroutine then lives until the process exits.
func interruptible[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// stdin returns standard input for a verb that was told to read it. Reading ends with ctx. hint
// tells a user at a terminal what to do.
func (a *app) stdin(ctx context.Context, hint string) io.Reader {
	if isTerminal(a.in) {
		fmt.Fprintln(a.err, hint)
	}
	return stdin{ctx, a.in}
}

type stdin struct {
	ctx context.Context
	in  io.Reader
}

// Read implements io.Reader.
func (s stdin) Read(p []byte) (int, error) {
	return interruptible(s.ctx, func() (int, error) { return s.in.Read(p) })
}

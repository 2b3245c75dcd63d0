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

// agree asks a person whether to go on with what can't be taken back; yes is the flag -y,
// which answers for them. It returns an error unless the answer is yes.
func (a *app) agree(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(a.in) || !isTerminal(a.err) {
		return usagef("nothing is changed: there is no terminal to ask in; to go on without a question add -y")
	}
	answer, err := (&form{ctx, a.in, a.err}).text(question+" Type yes to go on", "no")
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "yes", "y":
		return nil
	}
	return errors.New("nothing is changed")
}

// yesFlag adds -y, the answer to agree.
func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask; the answer is yes")
}

// interruptible returns what read returns, or the error of ctx if that ends first. A read
// from a terminal can't be interrupted; it is left to the end of the process.
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

// readAll reads standard input to its end, or to a limit in bytes, or until ctx ends.
func (a *app) readAll(ctx context.Context, limit int64) ([]byte, error) {
	text, err := interruptible(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.in, limit)) })
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return text, nil
}

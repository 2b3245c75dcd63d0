package cli

import (
	"context"
	"errors"
	"fmt"
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

// readAll reads a stream to its end, or until ctx ends. A read from a terminal can't be
// interrupted; it is left to the end of the process.
func (a *app) readAll(ctx context.Context, limit int64) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		text, err := readLimited(a.in, limit)
		read <- result{text, err}
	}()
	select {
	case r := <-read:
		return r.text, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read standard input: %w", ctx.Err())
	}
}

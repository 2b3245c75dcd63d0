package cli

import (
	"context"
	"errors"
	"os"
	"strings"

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

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/launch"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// form asks the user questions on the terminal until ctx ends.
type form struct {
	ctx context.Context
	in  io.Reader
	out io.Writer
}

// text asks for a line and returns it. If the user just presses Enter, it returns preset.
func (f *form) text(question, preset string) (string, error) {
	shown := ""
	if preset != "" {
		shown = " [" + oneLine(preset) + "]"
	}
	fmt.Fprintf(f.out, "%s%s: ", question, shown)
	line, err := f.line()
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	if line == "" {
		line = preset
	}
	return line, nil
}

// line waits for a line.
func (f *form) line() (string, error) {
	line, err := interruptible(f.ctx, func() (string, error) { return readLine(f.in) })
	if f.ctx.Err() != nil {
		fmt.Fprintln(f.out)
	}
	return line, err
}

// readLine reads byte by byte and stops after the line: claude reads the rest.
func readLine(in io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return strings.TrimSpace(string(line)), nil
		case n == 1:
			line = append(line, b[0])
		case errors.Is(err, io.EOF):
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
	}
}

// meshes asks which of the joined meshes to use.
func (f *form) meshes(config *peer.Config) ([]string, error) {
	answer, err := f.text("Meshes, separated by commas", strings.Join(config.Names(), ","))
	if err != nil {
		return nil, err
	}
	return strings.Split(answer, ","), nil
}

// identity asks for the name, role and groups of a new session, unless flags give any of
// them. A session that is resumed keeps its own.
func (f *form) identity(o *launch.Options) error {
	args := launch.Parse(o.Args)
	if o.Name != "" || o.Role != "" || len(o.Groups) > 0 || args.Resumes || args.Continues {
		return nil
	}
	var err error
	if o.Name, err = f.text("Name of the session (Enter: your name in the mesh)", ""); err != nil {
		return err
	}
	if o.Role, err = f.text("Role (Enter: none)", ""); err != nil {
		return err
	}
	o.Name, o.Role = visible.Cut(o.Name, wire.MaxNameLen, visible.Bytes), visible.Cut(o.Role, wire.MaxNameLen, visible.Bytes)
	for {
		list, err := f.text("Groups, e.g. a:lead,b (Enter: none)", "")
		if err != nil {
			return err
		}
		if o.Groups, err = launch.ParseGroups(list); err == nil {
			return nil
		}
		fmt.Fprintln(f.out, printable(err.Error()))
	}
}

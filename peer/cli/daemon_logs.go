package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer/daemon"
)

// logPoll is how often `daemon logs --follow` looks for new lines.
const logPoll = 250 * time.Millisecond

func (a *app) daemonLogsCommand() *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use: "logs", Short: "Show the daemon's log", Args: cobra.NoArgs,
		Example: `  claudemesh daemon logs --lines 20
  claudemesh daemon logs --follow`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lines < 0 {
				return usagef("--lines must not be negative")
			}
			file, err := os.Open(a.dir.Path(daemon.LogName))
			if errors.Is(err, fs.ErrNotExist) {
				return errors.New("there is no log: the daemon has never run here; start it with `claudemesh daemon up`")
			}
			if err != nil {
				return fmt.Errorf("read log: %w", err)
			}
			defer file.Close()
			if err := a.printTail(file, lines); err != nil || !follow {
				return err
			}
			return a.followLog(cmd.Context(), file)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep running, and show new lines")
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "how many of the newest lines to show")
	return cmd
}

// printTail prints the newest lines. It leaves the file positioned at its end.
func (a *app) printTail(file io.Reader, lines int) error {
	var ring []string // at most lines; --lines may be any number
	next := 0
	text := bufio.NewReader(file)
	for {
		line, err := text.ReadString('\n')
		switch {
		case line == "" || lines == 0:
		case len(ring) < lines:
			ring = append(ring, line)
		default:
			ring[next] = line
			next = (next + 1) % lines
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
	for i := range ring {
		if _, err := io.WriteString(a.out, printable(ring[(next+i)%len(ring)])); err != nil {
			return err
		}
	}
	return nil
}

// maxLogLine is the length at which followLog prints a line in parts.
const maxLogLine = 1 << 20

// followLog prints new lines until ctx ends. If the log becomes shorter, it was rotated, and
// followLog reads it from the start.
func (a *app) followLog(ctx context.Context, file io.ReadSeeker) error {
	poll := time.NewTicker(logPoll)
	defer poll.Stop()
	buffer := make([]byte, 32<<10)
	var rest []byte // the start of a line: printing it now could split a character
	for {
		n, err := file.Read(buffer)
		if n > 0 {
			rest = append(rest, buffer[:n]...)
			end := bytes.LastIndexByte(rest, '\n') + 1
			if end == 0 && len(rest) > maxLogLine {
				end = len(rest)
			}
			if _, err := io.WriteString(a.out, printable(string(rest[:end]))); err != nil {
				return err
			}
			rest = append(rest[:0], rest[end:]...)
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read log: %w", err)
		}
		if err := rewindIfCut(file); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// rewindIfCut goes to the start of a file that has become shorter than what was read of it.
func rewindIfCut(file io.Seeker) error {
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size < at {
		at = 0
	}
	_, err = file.Seek(at, io.SeekStart)
	return err
}

package caddymesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCommandsThatRead checks that each command that reads what changes can print JSON and look
// again and again.
func TestCommandsThatRead(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "claudemesh"}
	addCommands(root)
	for _, name := range []string{"status", "nodes", "meshes", "mesh", "sessions", "members", "queue", "audit heads"} {
		cmd, _, err := root.Find(strings.Fields(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, flag := range []string{"json", "watch"} {
			if cmd.Flags().Lookup(flag) == nil || !strings.Contains(cmd.Use, "--"+flag) {
				t.Errorf("%s has no --%s", name, flag)
			}
		}
	}
}

// TestWatch lets looks fail. The watch ends if the first one fails, and goes on after the others. An
// interrupt ends it without a word, even if a look fails because of that.
func TestWatch(t *testing.T) {
	t.Parallel()
	away := errors.New("the broker is away")
	watch := func(looks ...error) (out, errs string, err error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var o, e bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetContext(ctx)
		cmd.SetOut(&o)
		cmd.SetErr(&e)
		n := 0
		err = (&display{watch: true}).repeat(cmd, func(_ context.Context, w io.Writer) error {
			n++
			fmt.Fprintf(w, "look %d\n", n)
			if n == len(looks) && n > 1 {
				cancel()
			}
			return looks[n-1]
		})
		return o.String(), e.String(), err
	}
	if out, errs, err := watch(nil, away, nil); err != nil || out != "look 1\nlook 3\n" || errs != "the broker is away; trying again\n" {
		t.Errorf("got %q, %q, %v", out, errs, err)
	}
	if out, errs, err := watch(nil, errors.New("nothing answers (context canceled)")); err != nil || out != "look 1\n" || errs != "" {
		t.Errorf("interrupted: got %q, %q, %v", out, errs, err)
	}
	if out, _, err := watch(away); !errors.Is(err, away) || out != "" {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestPrint prints a table and a list of fields. A column with a time has no unit in its heading, because its
// cells have one.
func TestPrint(t *testing.T) {
	t.Parallel()
	rows := []row{{"mesh": "team", "oldest_seconds": json.Number("61.2")}}
	if empty := cell("oldest_seconds", json.Number("0")); empty != "-" {
		t.Errorf("where nothing waits, the oldest is %q", empty)
	}
	columns := []string{"mesh", "oldest_seconds"}
	for want, print := range map[string]func(*display, io.Writer, []row, []string) error{
		"MESH  OLDEST\nteam  1m1s\n":   (*display).print,
		"MESH    team\nOLDEST  1m1s\n": (*display).printTall,
	} {
		var b strings.Builder
		if err := print(&display{}, &b, rows, columns); err != nil || b.String() != want {
			t.Errorf("printed %q, want %q (%v)", b.String(), want, err)
		}
	}
}

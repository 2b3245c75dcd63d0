//go:build !windows

package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
)

func TestDeliver(t *testing.T) {
	t.Parallel()
	dir := daemontest.Dir(t)
	var got []string
	start := func(context.Context) error {
		d := daemontest.Start(t, dir)
		daemontest.Handle(d, local.VerbRegister, func(r local.Register) (any, error) {
			got = append(got, fmt.Sprintf("register %s", r.Source))
			return local.Registered{}, nil
		})
		daemontest.Handle(d, local.VerbEnd, func(e local.End) (any, error) {
			got = append(got, "end "+e.Reason)
			return nil, nil
		})
		daemontest.Handle(d, local.VerbActivity, func(a local.Activity) (any, error) {
			got = append(got, fmt.Sprintf("ended %s %v", a.Ended, a.WantPointer))
			return local.Pointer{}, nil
		})
		return nil
	}
	h := Hook{Dir: dir, PID: os.Getpid()}
	for _, in := range []string{
		`{"session_id":"` + session + `","hook_event_name":"SessionStart","source":"clear"}`,
		`{"session_id":"` + session + `","hook_event_name":"PostToolBatch","tool_calls":[{"tool_name":"mcp__plugin_claudemesh_mesh__check_messages","tool_use_id":"toolu_1"}]}`,
		`{"session_id":"` + session + `","hook_event_name":"SessionEnd","reason":"other"}`,
	} {
		if err := h.Deliver(t.Context(), strings.NewReader(in), start); err != nil {
			t.Fatal(err)
		}
	}
	if want := "[register clear ended [toolu_1] false end other]"; fmt.Sprint(got) != want {
		t.Errorf("the daemon was told %v, want %s", got, want)
	}
}

func TestDeliverFails(t *testing.T) {
	t.Parallel()
	h := Hook{Dir: daemontest.Dir(t), PID: os.Getpid()}
	if err := h.Deliver(t.Context(), strings.NewReader("{}"), nil); err == nil {
		t.Error("accepted input that isn't an event")
	}
	ctx, cancel := context.WithCancel(t.Context())
	broken := errors.New("broken")
	err := h.Deliver(ctx, strings.NewReader(`{"session_id":"`+session+`","hook_event_name":"SessionEnd"}`), func(context.Context) error {
		cancel()
		return broken
	})
	if !errors.Is(err, broken) || !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
}

// seenVariable names the file to which this program, run as the detached process, writes the
// event that it gets.
const seenVariable = "HOOK_TEST_SEEN"

func TestMain(m *testing.M) {
	path := os.Getenv(seenVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	event, err := io.ReadAll(os.Stdin)
	sid, sidErr := unix.Getsid(0)
	text := fmt.Sprintf("%s\n%s %d %d\n", event, os.Getenv(lineage.EnvPID), sid, os.Getpid())
	if err = errors.Join(err, sidErr, os.WriteFile(path+".new", []byte(text), 0o600)); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		os.Exit(1)
	}
}

// TestSpawn runs this test program as the detached process.
func TestSpawn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	t.Setenv(seenVariable, path)
	if err := spawn(4711, os.Args[0])(Event{Name: sessionStart, SessionID: session, Source: "clear", Prompt: "never"}); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	tick, timeout := time.NewTicker(10*time.Millisecond), time.After(await.Patience)
	defer tick.Stop()
	for len(seen) == 0 {
		select {
		case <-tick.C:
			seen, _ = os.ReadFile(path) // fails until the file exists
		case <-timeout:
			t.Fatal("nothing arrived")
		}
	}
	lines := strings.Split(strings.TrimSpace(string(seen)), "\n")
	if want := `{"hook_event_name":"SessionStart","session_id":"` + session + `","source":"clear"}`; lines[0] != want {
		t.Errorf("the detached process got %s, want %s", lines[0], want)
	}
	fields := strings.Fields(lines[1])
	if len(fields) != 3 || fields[0] != "4711" || fields[1] != fields[2] {
		t.Errorf("%s, session and process are %v, want 4711 and a session of its own", lineage.EnvPID, fields)
	}
	if err := spawn(1, filepath.Join(t.TempDir(), "no-such-program"))(Event{}); err == nil {
		t.Error("a program that doesn't exist was started")
	}
}

package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// bench is a hook with a daemon that answers, and records what happens.
type bench struct {
	*Hook
	daemon   *daemontest.Server
	log      bytes.Buffer
	detached []Event
}

func newBench(t *testing.T) *bench {
	b := &bench{daemon: daemontest.Start(t, daemontest.Dir(t))}
	b.Hook = &Hook{
		Dir: b.daemon.Dir, PID: os.Getpid(), ConfigDir: "/second/.claude", budget: await.Patience,
		Detach: func(e Event) error { b.detached = append(b.detached, e); return nil },
		Logf:   func(format string, args ...any) { fmt.Fprintf(&b.log, format+"\n", args...) },
	}
	return b
}

// run gives the hook an event and returns what it printed.
func (b *bench) run(t *testing.T, fields string) string {
	t.Helper()
	var out bytes.Buffer
	b.Run(t.Context(), strings.NewReader(`{"session_id":"`+session+`",`+fields+`}`), &out)
	return out.String()
}

const pointer = "2 unread mesh messages from bob & carol: read them with check_messages"

func TestPointerInContext(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	daemontest.Handle(b.daemon, local.VerbRegister, func(r local.Register) (any, error) {
		if r.PID != os.Getpid() || r.Domain != process.Domain() || r.ProcStart == "" || r.SessionID != session || r.ConfigDir != "/second/.claude" {
			t.Errorf("registered %+v", r)
		}
		return local.Registered{Warnings: []string{"careful"}}, nil
	})
	daemontest.Handle(b.daemon, local.VerbActivity, func(a local.Activity) (any, error) {
		return local.Pointer{Pointer: pointer, Number: 7}, nil
	})
	printed := 0
	daemontest.Handle(b.daemon, local.VerbPrinted, func(p local.Printed) (any, error) {
		if p != (local.Printed{PID: os.Getpid(), Domain: process.Domain(), Number: 7}) {
			t.Errorf("printed %+v", p)
		}
		printed++
		return nil, nil
	})
	if got := b.run(t, `"hook_event_name":"`+sessionStart+`"`); got != "" {
		t.Errorf("SessionStart printed %q, which nobody may read for hours", got)
	}
	for i, event := range []string{userPromptSubmit, preToolUse, postToolUse, postToolBatch} {
		want := `{"hookSpecificOutput":{"hookEventName":"` + event + `","additionalContext":"2 unread mesh messages from bob \u0026 carol: read them with check_messages"}}` + "\n"
		if got := b.run(t, `"hook_event_name":"`+event+`"`); got != want {
			t.Errorf("%s printed %q, want %q\n%s", event, got, want, b.log.String())
		}
		if printed != i+1 {
			t.Errorf("%s did not confirm that it printed: %s", event, b.log.String())
		}
	}
	if !strings.Contains(b.log.String(), "careful") {
		t.Errorf("no warning in the log: %s", b.log.String())
	}
	if len(b.detached) != 0 {
		t.Errorf("detached %v", b.detached)
	}
}

// TestPointerNotPrinted checks that a hook that can't print does not confirm the pointer.
func TestPointerNotPrinted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	daemontest.Handle(b.daemon, local.VerbActivity, func(local.Activity) (any, error) {
		return local.Pointer{Pointer: pointer, Number: 1}, nil
	})
	daemontest.Handle(b.daemon, local.VerbPrinted, func(p local.Printed) (any, error) {
		t.Errorf("printed %+v", p)
		return nil, nil
	})
	r, w := io.Pipe()
	_ = r.Close()
	b.Run(t.Context(), strings.NewReader(`{"session_id":"`+session+`","hook_event_name":"PreToolUse"}`), w)
	if !strings.Contains(b.log.String(), "print the pointer") {
		t.Errorf("the log: %s", b.log.String())
	}
}

func TestHookPrintsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	calls := 0
	daemontest.Handle(b.daemon, local.VerbActivity, func(local.Activity) (any, error) {
		calls++
		return local.Pointer{}, nil
	})
	for _, tc := range []struct {
		name, fields string
		calls        int
	}{
		{"nothing to say", `"hook_event_name":"PreToolUse"`, 1},
		{"belongs to a subagent", `"hook_event_name":"PreToolUse","agent_id":"a1"`, 0},
		{"start of a subagent's", `"hook_event_name":"SessionStart","agent_id":"a1"`, 0},
		{"unknown", `"hook_event_name":"SomethingNew"`, 0},
		{"no event", `"x":1`, 0},
	} {
		calls = 0
		if out := b.run(t, tc.fields); out != "" || calls != tc.calls {
			t.Errorf("%s: printed %q, %d calls, want %d", tc.name, out, calls, tc.calls)
		}
	}
}

func TestMissedStart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, code := range []string{local.CodeNotFound, local.CodeRefused} {
		registered := false
		daemontest.Handle(b.daemon, local.VerbActivity, func(local.Activity) (any, error) {
			if registered {
				return local.Pointer{Pointer: pointer}, nil
			}
			return nil, &local.Error{Status: http.StatusNotFound, Code: code, Message: "not registered"}
		})
		daemontest.Handle(b.daemon, local.VerbRegister, func(r local.Register) (any, error) {
			if r.Source != local.SourceResume {
				t.Errorf("source %q", r.Source)
			}
			registered = true
			return local.Registered{}, nil
		})
		if out := b.run(t, `"hook_event_name":"UserPromptSubmit","prompt":"x"`); !strings.Contains(out, "2 unread") {
			t.Errorf("%s: a prompt did not register the session: %q", code, out)
		}
		registered = false
		if out := b.run(t, `"hook_event_name":"PreToolUse"`); out != "" {
			t.Errorf("%s: a tool registered the session", code)
		}
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	const start, end = `"hook_event_name":"SessionStart","source":"clear"`, `"hook_event_name":"SessionEnd","reason":"clear"`
	const checked = `"hook_event_name":"PostToolBatch","tool_calls":[{"tool_name":"mcp__plugin_claudemesh_mesh__check_messages","tool_use_id":"toolu_1"}]`
	refuse := func(b *bench) {
		refused := &local.Error{Status: http.StatusBadRequest, Code: local.CodeInvalid, Message: "no"}
		daemontest.Handle(b.daemon, local.VerbRegister, func(local.Register) (any, error) { return nil, refused })
		daemontest.Handle(b.daemon, local.VerbEnd, func(local.End) (any, error) { return nil, refused })
		daemontest.Handle(b.daemon, local.VerbActivity, func(local.Activity) (any, error) { return nil, refused })
	}
	hang := func(b *bench) {
		b.budget = 20 * time.Millisecond
		for _, verb := range []string{local.VerbRegister, local.VerbEnd, local.VerbActivity} {
			b.daemon.HandleFunc(verb, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the caller goes away
				<-r.Context().Done()
			})
		}
	}
	accept := func(b *bench) {
		daemontest.Handle(b.daemon, local.VerbRegister, func(local.Register) (any, error) { return nil, nil })
		daemontest.Handle(b.daemon, local.VerbActivity, func(local.Activity) (any, error) { return local.Pointer{}, nil })
		daemontest.Handle(b.daemon, local.VerbEnd, func(e local.End) (any, error) {
			if e.Reason != "clear" || e.SessionID != session || e.PID != os.Getpid() {
				return nil, errors.New("wrong end")
			}
			return nil, nil
		})
	}
	for _, tc := range []struct {
		name, fields string
		daemon       func(*bench)
		want         bool
	}{
		{"start, no daemon", start, func(b *bench) { b.daemon.Stop() }, true},
		{"start, crashed daemon", start, func(b *bench) { b.daemon.Crash() }, true},
		{"start, hanging daemon", start, hang, true},
		{"start, refused", start, refuse, false},
		{"start, accepted", start, accept, false},
		{"start, older daemon", start, func(b *bench) { accept(b); b.Build = local.Build{Built: time.Now()} }, true},
		{"end, no daemon", `"hook_event_name":"SessionEnd","reason":"other"`, func(b *bench) { b.daemon.Stop() }, false},
		{"end of a clear, no daemon", end, func(b *bench) { b.daemon.Stop() }, true},
		{"end, crashed daemon", end, func(b *bench) { b.daemon.Crash() }, true},
		{"end, hanging daemon", end, hang, true},
		{"end, refused", end, refuse, false},
		{"end, accepted", end, accept, false},
		{"messages read, no daemon", checked, func(b *bench) { b.daemon.Stop() }, true},
		{"messages read, crashed daemon", checked, func(b *bench) { b.daemon.Crash() }, true},
		{"messages read, hanging daemon", checked, hang, true},
		{"messages read, refused", checked, refuse, false},
		{"messages read, accepted", checked, accept, false},
		{"tool, crashed daemon", `"hook_event_name":"PreToolUse"`, func(b *bench) { b.daemon.Crash() }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tc.daemon(b)
			if out := b.run(t, tc.fields); out != "" {
				t.Errorf("printed %q", out)
			}
			if got := len(b.detached) == 1; got != tc.want {
				t.Errorf("detached %v, want %v\n%s", b.detached, tc.want, b.log.String())
			}
		})
	}
}

// brokenReader never ends, or fails.
type brokenReader struct{ read func([]byte) (int, error) }

func (r brokenReader) Read(p []byte) (int, error) { return r.read(p) }

func TestBrokenInput(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	for _, tc := range []struct {
		name string
		in   io.Reader
	}{
		{"never ends", brokenReader{func([]byte) (int, error) { <-ended; return 0, io.EOF }}},
		{"fails", brokenReader{func([]byte) (int, error) { return 0, errors.New("broken") }}},
		{"too long", io.MultiReader(strings.NewReader(`{"x":"`), strings.NewReader(strings.Repeat("x", MaxInput)))},
		{"empty", strings.NewReader("")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.budget = 0
			var out bytes.Buffer
			done := make(chan struct{})
			go func() { b.Run(context.Background(), tc.in, &out); close(done) }()
			select {
			case <-done:
			case <-time.After(await.Patience):
				t.Fatal("the hook did not end")
			}
			if out.Len() != 0 || !strings.Contains(b.log.String(), "ignored") {
				t.Errorf("printed %q, logged %q", out.String(), b.log.String())
			}
		})
	}
}

// TestLateInput checks that a hook waits for an event that Claude Code writes late.
func TestLateInput(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.budget = 200 * time.Millisecond
	registered := make(chan local.Register, 1) // the daemon may be slower than the hook's budget
	daemontest.Handle(b.daemon, local.VerbRegister, func(r local.Register) (any, error) { registered <- r; return nil, nil })
	event := strings.NewReader(`{"session_id":"` + session + `","hook_event_name":"SessionStart","source":"startup"}`)
	var once sync.Once
	b.Run(t.Context(), brokenReader{func(p []byte) (int, error) {
		once.Do(func() { <-time.After(2 * b.budget) })
		return event.Read(p)
	}}, io.Discard)
	if len(b.detached) > 0 {
		return // it ran out of time, but did not lose the event
	}
	select {
	case got := <-registered:
		if got.SessionID != session {
			t.Errorf("registered %+v", got)
		}
	default:
		t.Errorf("not registered\n%s", b.log.String())
	}
}

func TestPanicIsSilent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.daemon.Crash()
	b.Detach = func(Event) error { panic("oh") }
	if out := b.run(t, `"hook_event_name":"SessionStart"`); out != "" || !strings.Contains(b.log.String(), "panic: oh") {
		t.Errorf("printed %q, logged %q", out, b.log.String())
	}
}

// TestNested checks that a claude inside another session doesn't use the options that launch
// has passed to the outer one, unless it was launched, too.
func TestNested(t *testing.T) {
	t.Parallel()
	child := exec.Command("cat")
	in, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = child.Wait() })
	for _, tc := range []struct {
		name, outer, launched string
		nested                bool
	}{
		{"claude -p in a tool", "11111111-1111-4111-8111-111111111111", strconv.Itoa(os.Getpid()), true},
		{"claude -p in a tool, nothing launched", "11111111-1111-4111-8111-111111111111", "", true},
		{"launch in a tool", "11111111-1111-4111-8111-111111111111", strconv.Itoa(child.Process.Pid), false},
		{"a wrapper of claude", session, strconv.Itoa(os.Getpid()), false},
		{"not in a session", "", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.PID = child.Process.Pid
			env := map[string]string{EnvName: "web", EnvRole: "reviewer", EnvGroups: "dev", EnvMesh: "team", EnvLaunch: tc.launched}
			b.Env = func(name string) string { return env[name] }
			if tc.outer != "" {
				ticket, err := json.Marshal(local.Ticket{PID: os.Getpid(), SessionID: tc.outer})
				path := local.TicketPath(b.Dir, process.Here(os.Getpid()))
				if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700)); err == nil {
					err = os.WriteFile(path, ticket, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			var got local.Register
			daemontest.Handle(b.daemon, local.VerbRegister, func(r local.Register) (any, error) {
				got = r
				return local.Registered{}, nil
			})
			b.run(t, `"hook_event_name":"`+sessionStart+`"`)
			want := local.Register{Name: "web", Role: "reviewer", Groups: []wire.Group{{Name: "dev"}}}
			if tc.nested {
				want = local.Register{Parent: os.Getpid()}
			}
			if got.Parent != want.Parent || got.Name != want.Name || got.Role != want.Role || len(got.Groups) != len(want.Groups) || len(got.Meshes) != 1 {
				t.Errorf("registered %+v", got)
			}
		})
	}
}

package claude

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/tests/internal/claude"
)

// mail sends messages from one session to another while a test disturbs the reading. No
// message must get lost, and no receipt must be ahead of the transcript on disk.
type mail struct {
	w      *world
	sender *claude.Session
	from   *local.Client // acts for the sender
	sent   int
	to     *person
	key    string
	reader *claude.Session
	id     string // of reader
	early  int    // receipts that arrived despite a disturbed reading
}

// newMail creates two people with a session each. slow is an event at which the reader's own
// hook takes a second; "" for none.
func newMail(w *world, slow string) *mail {
	w.t.Helper()
	alice, bob := w.person("alice"), w.person("bob")
	if slow != "" {
		bob.slowHook(slow)
	}
	a := alice.launch()
	from, err := local.Session(peer.Dir(filepath.Join(alice.Dir, ".claudemesh")), a.PID())
	if err != nil {
		w.t.Fatal(err)
	}
	m := &mail{w: w, sender: a, from: from, to: bob, reader: bob.launch()}
	m.id = m.reader.ID()
	m.key = alice.awaitRow(m.reader, "idle").Pubkey
	m.reader.Ask("hello") // so that there is a conversation to resume
	return m
}

func (m *mail) call(verb string, in, out any) {
	m.w.t.Helper()
	ctx, cancel := context.WithTimeout(m.w.t.Context(), await.Patience)
	defer cancel()
	if err := m.from.Call(ctx, verb, in, out); err != nil {
		m.w.t.Fatalf("%s: %v", verb, err)
	}
}

// send sends a text and waits until the reader's machine has it.
func (m *mail) send(text string) (id string) {
	m.w.t.Helper()
	if m.sent++; m.sent%15 == 0 {
		m.sender.Ask("go on") // without its user, a session may send only so many messages
	}
	var sent local.Sent
	m.call(local.VerbSend, local.Send{To: m.key, Text: text}, &sent)
	m.to.await("the message has come", func() bool { return m.state(sent.ID) != local.Queued && m.state(sent.ID) != local.Waiting })
	return sent.ID
}

func (m *mail) state(id string) local.State {
	m.w.t.Helper()
	var status local.MessageStatus
	m.call(local.VerbMessageStatus, local.MessageQuery{ID: id}, &status)
	return status.State
}

// calls returns how often the model called check_messages.
func (m *mail) calls() int {
	n := 0
	for _, r := range m.w.api.Requests(m.id) {
		news := r.News()
		if news.Pointed || strings.Contains(news.Prompt, checkTool) {
			n++
		}
	}
	return n
}

// awaitCall waits until the model is about to read. It prompts the model if nothing else
// wakes it, since a member may wake a session only so often.
func (m *mail) awaitCall(before int) {
	m.w.t.Helper()
	asked := time.Now()
	m.to.await("the model reads", func() bool {
		if time.Since(asked) > 3*time.Second {
			asked = time.Now()
			m.reader.Type("[[tool " + checkTool + " {}]]")
		}
		return m.calls() > before
	})
}

// kept reports whether the transcript on disk contains a text.
func (m *mail) kept(text string) bool {
	files, err := filepath.Glob(filepath.Join(m.to.Dir, ".claude", "projects", "*", m.id+".jsonl"))
	if err != nil || len(files) != 1 {
		return false
	}
	b, err := os.ReadFile(files[0])
	return err == nil && strings.Contains(string(b), text)
}

// judge checks that a receipt isn't ahead of the transcript.
func (m *mail) judge(id, text string) {
	m.w.t.Helper()
	if m.state(id) != local.InContext {
		return
	}
	m.early++
	if !m.kept(text) {
		m.w.t.Errorf("the receipt says that %q is in the context, but the transcript lacks it", text)
	}
}

// awaitRead waits until the model has a text and the sender knows it. If the text came more
// than once, each repetition must be marked.
func (m *mail) awaitRead(id, text string) {
	m.w.t.Helper()
	m.to.await(fmt.Sprintf("the model has %q", text), func() bool { return len(m.shown(text)) > 0 })
	for i, f := range m.shown(text) {
		if i > 0 && f.attribute("seen_before") != "maybe" {
			m.w.t.Errorf("%q came %d times without a mark", text, i+1)
		}
	}
	m.to.await(fmt.Sprintf("the sender knows that %q was read", text), func() bool { return m.state(id) == local.InContext })
	if !m.kept(text) {
		m.w.t.Errorf("%q was read, but the transcript lacks it", text)
	}
}

func (m *mail) shown(text string) (frames []framed) {
	for _, f := range m.w.frames(m.id) {
		if f.text == text {
			frames = append(frames, f)
		}
	}
	return frames
}

// rounds returns the number of attempts: standIn with the stand-in, real with the real program
// and CLAUDEMESH_TEST_LONG=1, a quarter of real without the variable.
func rounds(w *world, standIn, real int) int {
	switch {
	case !w.program.Real:
		return standIn
	case os.Getenv("CLAUDEMESH_TEST_LONG") != "":
		return real
	}
	return real / 4
}

// slowHook gives the person their own hook, which takes a second.
func (p *person) slowHook(event string) {
	p.t.Helper()
	dir := filepath.Join(p.Dir, ".claude")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	text := `{"hooks":{"` + event + `":[{"hooks":[{"type":"command","command":"sleep 1"}]}]}}`
	if err := os.WriteFile(filepath.Join(dir, "settings.json"), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// TestInterruptedReading presses Esc at various moments of the reading, with and without slow
// hooks of the user.
func TestInterruptedReading(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		for _, hook := range []string{"", "PreToolUse", "PostToolUse", "PostToolBatch"} {
			t.Run("slow "+hook, func(t *testing.T) {
				t.Parallel()
				m := newMail(newWorld(t, w.program), hook)
				for i := range rounds(w, 5, 40) {
					text := fmt.Sprintf("round %d, slow %s", i, hook)
					before := m.calls()
					id := m.send(text)
					m.awaitCall(before)
					<-time.After(time.Duration(i+1) * 2 * time.Second / time.Duration(rounds(w, 5, 40)))
					m.reader.Escape()
					m.reader.AwaitStatus("idle")
					m.judge(id, text)
					m.reader.Ask("what next?")
					m.awaitRead(id, text)
				}
				t.Logf("%d of them had been read before Esc", m.early)
			})
		}
	})
}

// TestRefusedReading presses Esc at the permission dialog. The message stays unread, and the
// next prompt announces it again.
func TestRefusedReading(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		b := bob.Start(t, "claudemesh", "launch", "-y", "--quiet", "--name", "bob", "--", "--permission-mode", "manual")
		a := alice.launch()
		alice.awaitRow(b, "idle")
		id := w.say(a, "bob", "read me")
		for range 2 {
			b.AwaitDialog()
			b.Escape()
			b.AwaitStatus("idle")
			b.Type("go on")
		}
		b.AwaitDialog()
		b.Turn(b.Allow)
		w.awaitReceived(b.ID(), "read me")
		await.Until(t, "alice knows that it was read", func() bool {
			return strings.Contains(w.use(a, tool+"message_status", `{"id":"`+id+`"}`).Text, "in the recipient's context")
		}, a.Screen)
	})
}

// TestKilledReading kills claude at various moments of the reading.
func TestKilledReading(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		m := newMail(w, "")
		const most = 500 * time.Millisecond // the reading takes less
		for i := range rounds(w, 5, 20) {
			text := fmt.Sprint("round ", i)
			before := m.calls()
			id := m.send(text)
			m.awaitCall(before)
			<-time.After(most * time.Duration(i) / time.Duration(rounds(w, 5, 20)))
			m.reader.Kill()
			m.reader = m.to.launch("--resume", m.id)
			m.judge(id, text)
			m.reader.Ask("what next?")
			m.awaitRead(id, text)
		}
		t.Logf("%d of them had been read before the end", m.early)
	})
}

// TestReadingWithoutATerminal tests claude -p: the prompt announces waiting messages, and the
// process ends with its turn.
func TestReadingWithoutATerminal(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		m := newMail(w, "")
		if code := m.reader.Exit(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		for i := range rounds(w, 3, 20) {
			text := fmt.Sprint("round ", i)
			var sent local.Sent
			m.call(local.VerbSend, local.Send{To: m.key, Text: text}, &sent)
			out, errOut, code := m.to.Run(t, "claudemesh", "launch", "-y", "--quiet", "--name", "bob", "--", "--allowedTools", checkTool,
				"-p", "--resume", m.id, "what next?")
			if code != 0 {
				t.Fatalf("exit code %d: %s%s", code, out, errOut)
			}
			for len(m.shown(text)) == 0 { // the message arrived after the prompt
				if out, errOut, code = m.to.Run(t, "claudemesh", "launch", "-y", "--quiet", "--name", "bob", "--", "--allowedTools", checkTool,
					"-p", "--resume", m.id, "and then?"); code != 0 {
					t.Fatalf("exit code %d: %s%s", code, out, errOut)
				}
			}
			m.awaitRead(sent.ID, text)
		}
	})
}

// TestReadingOfAStream drives Claude Code with JSON lines and interrupts it at various moments
// of the reading. The stand-in doesn't support JSON lines.
func TestReadingOfAStream(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		if !w.program.Real {
			t.Skip("the stand-in doesn't support --input-format stream-json; make test-claude runs this test with the real Claude Code")
		}
		m := newMail(w, "")
		if code := m.reader.Exit(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		cmd := m.to.Command("claudemesh", "launch", "-y", "--quiet", "--name", "bob", "--", "--allowedTools", checkTool,
			"-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose", "--resume", m.id)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		turns := func() int { return w.api.Turns(m.id) }
		say := func(line string) {
			t.Helper()
			if _, err := fmt.Fprintln(in, line); err != nil {
				t.Fatal(err)
			}
		}
		ask := func(text string) {
			say(`{"type":"user","message":{"role":"user","content":"` + text + `"}}`)
		}
		const most = 20
		for i := range most {
			text := fmt.Sprint("round ", i)
			before, ended := m.calls(), turns()
			ask("hello")
			m.to.await("the turn is over", func() bool { return turns() > ended })
			id := m.send(text)
			var asked time.Time
			m.to.await("the model reads", func() bool {
				if time.Since(asked) > 10*time.Second { // on a busy machine, a hook may give up and tell nothing
					asked = time.Now()
					ask("what next?")
				}
				return m.calls() > before
			})
			<-time.After(time.Duration(i) * 20 * time.Millisecond)
			say(fmt.Sprintf(`{"type":"control_request","request_id":"r%d","request":{"subtype":"interrupt"}}`, i))
			m.judge(id, text)
			asked = time.Time{}
			m.to.await("a prompt tells of it", func() bool {
				if time.Since(asked) > 3*time.Second { // nothing else can make it read
					asked = time.Now()
					ask("and then?")
				}
				return len(m.shown(text)) > 0
			})
			m.awaitRead(id, text)
		}
		t.Logf("%d of them had been read before the interruption", m.early)
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

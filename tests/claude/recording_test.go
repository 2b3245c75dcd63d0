package claude

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/tests/internal/claude"
	"github.com/claudemesh/claudemesh/tests/internal/messages"
	"github.com/claudemesh/claudemesh/tests/internal/termsvg"
)

// recordingVariable is the environment variable that names the file for the picture of
// TestRecording. Without it, the test uses the stand-in and discards the picture.
const recordingVariable = "CLAUDEMESH_RECORDING"

const (
	prompt   = "Ask bob whether the users table still has the column email."
	question = "Does the users table still have the column email? The login page reads it."
	answer   = "No: since yesterday it is in the table contacts. Join it by user_id."
)

// maxPicture is the maximum size of the picture in bytes.
const maxPicture = 200_000

// TestRecording records an exchange for the README: alice's session asks bob's session a
// question. Bob's session wakes, reads and answers. Alice's session wakes and tells her.
func TestRecording(t *testing.T) {
	t.Parallel()
	file := os.Getenv(recordingVariable)
	program, ok := claude.RealProgram()
	if file == "" || !ok {
		program = claude.StandIn(commands.StandIn)
	}
	if file == "" {
		file = filepath.Join(t.TempDir(), "exchange.svg")
	}
	w := newWorld(t, program)
	f := newFilm(t, w)
	w.api.Play = f.play
	alice, bob := w.person("alice"), w.person("bob")
	f.sessions = []*claude.Session{f.open(alice), f.open(bob)}
	a, b := f.sessions[0], f.sessions[1]
	alice.awaitRow(a, "idle")
	alice.awaitRow(b, "idle")

	f.shoot(2 * time.Second)
	a.Write(prompt)
	f.shoot(2 * time.Second)
	a.Turn(func() {
		a.Enter()
		f.cue("alice asks")
		f.await("bob is told")
	})
	f.shoot(3 * time.Second)
	b.Turn(func() {
		f.cue("bob is told")
		f.cue("bob answers")
		f.await("alice is told")
	})
	f.shoot(4 * time.Second)
	a.Turn(func() { f.cue("alice is told") })
	f.shoot(7 * time.Second)
	f.save(file, alice, bob)
}

// film is a recording and its script.
type film struct {
	t        *testing.T
	w        *world
	sessions []*claude.Session
	scenes   []termsvg.Scene
	waiting  map[string]chan bool // closed when the model has reached the cue
	cues     map[string]chan bool // closed when the model may continue
}

func newFilm(t *testing.T, w *world) *film {
	f := &film{t: t, w: w, waiting: make(map[string]chan bool), cues: make(map[string]chan bool)}
	for _, name := range []string{"alice asks", "bob is told", "bob answers", "alice is told"} {
		f.waiting[name], f.cues[name] = make(chan bool), make(chan bool)
	}
	return f
}

// open starts a person's session in a small terminal, with settings that make each recording
// look the same.
func (f *film) open(p *person) *claude.Session {
	f.t.Helper()
	p.Columns, p.Rows = 100, 22
	dir := filepath.Join(p.Dir, ".claude")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	settings := `{"showTurnDuration":false,"spinnerTipsEnabled":false,"prefersReducedMotion":true,"spinnerVerbs":{"mode":"replace","verbs":["Working"]}}`
	if err := os.WriteFile(filepath.Join(dir, "settings.json"), []byte(settings), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return p.launch("--permission-mode", "manual")
}

// play is the model of both sessions.
func (f *film) play(r messages.Request) (text string, calls []messages.Call) {
	use := func(name string, input map[string]string) []messages.Call {
		b, err := json.Marshal(input)
		if err != nil {
			f.t.Error(err)
		}
		return []messages.Call{{Name: tool + name, Input: string(b)}}
	}
	bob := len(f.sessions) == 2 && r.Session == f.sessions[1].ID()
	news := r.News()
	result := messages.Result{}
	if n := len(news.Results); n > 0 {
		result = news.Results[n-1]
	}
	switch {
	case strings.Contains(news.Prompt, prompt):
		f.stand("alice asks")
		return "I'll ask bob's session, and say what it is for: the login page reads that column.", use("send_message", map[string]string{"to": "bob", "message": question})
	case news.Pointed && bob:
		f.stand("bob is told")
		return "I've come to a good point to read it.", use("check_messages", nil)
	case news.Pointed:
		f.stand("alice is told")
		return "", use("check_messages", nil)
	case result.Tool == checkTool && bob:
		f.stand("bob answers")
		id := frame.FindStringSubmatch(result.Text)
		if id == nil {
			f.t.Errorf("bob's model got %q", result.Text)
			return "", nil
		}
		return "alice, whose membership is verified, asks whether the users table still has the column email. It does not, since the migration of yesterday. That is no secret: I'll answer.",
			use("send_message", map[string]string{"reply_to": framed{attributes: id[1]}.attribute("id"), "message": answer})
	case result.Tool == checkTool:
		return "bob (verified) answers: no, since yesterday it is in the table contacts, to be joined by user_id.\n\n" +
			"Shall I change the login page?", nil
	case result.Tool == sendTool && bob:
		return "I told alice that it is in the table contacts now, to be joined by user_id.", nil
	case result.Tool == sendTool:
		return "Asked. I'll tell you when there is an answer.", nil
	}
	return "ok", nil
}

// stand makes the model wait for a cue.
func (f *film) stand(name string) {
	close(f.waiting[name])
	<-f.cues[name]
}

// cue waits until the model has reached the cue, and lets it continue.
func (f *film) cue(name string) {
	f.await(name)
	close(f.cues[name])
}

func (f *film) await(name string) {
	f.t.Helper()
	select {
	case <-f.waiting[name]:
	case <-time.After(await.Patience):
		f.t.Fatalf("the model didn't reach this cue: %s\n%s\n%s", name, f.sessions[0].Screen(), f.sessions[1].Screen())
	}
}

// shoot waits until the screens don't change anymore and adds them to the recording.
func (f *film) shoot(length time.Duration) {
	f.t.Helper()
	var last []string
	await.Until(f.t, "the terminals stand still", func() bool {
		var now []string
		for _, s := range f.sessions {
			now = append(now, s.Picture())
		}
		still := last != nil && strings.Join(now, "\f") == strings.Join(last, "\f")
		last = now
		if !still {
			<-time.After(500 * time.Millisecond)
		}
		return still
	}, f.sessions[0].Screen)
	f.scenes = append(f.scenes, termsvg.Scene{Panes: []termsvg.Pane{{Title: "alice: claudemesh launch", Capture: last[0]}, {Title: "bob: claudemesh launch", Capture: last[1]}}, For: length})
}

// save writes the picture, unless it shows something of this machine.
func (f *film) save(file string, people ...*person) {
	f.t.Helper()
	var picture strings.Builder
	if err := termsvg.Write(&picture, f.scenes...); err != nil {
		f.t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		f.t.Fatal(err)
	}
	betrays := []string{host, f.w.api.URL, f.w.broker.WSURL(), os.TempDir(), "[0-9a-f]{64}"}
	for _, p := range people {
		betrays = append(betrays, p.Dir)
	}
	for _, text := range betrays {
		if found := regexp.MustCompile(text).FindString(picture.String()); found != "" {
			f.t.Errorf("the picture shows %q", found)
		}
	}
	if picture.Len() > maxPicture {
		f.t.Errorf("the picture has %d bytes", picture.Len())
	}
	if err := os.WriteFile(file, []byte(picture.String()), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

package claude

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/tests/internal/claude"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/tests/internal/messages"
)

// The names of claudemesh's tools for a model.
const (
	tool      = "mcp__plugin_claudemesh_mesh__"
	checkTool = tool + "check_messages"
	sendTool  = tool + "send_message"
)

// everywhere runs a scenario with the stand-in and with the real Claude Code.
func everywhere(t *testing.T, run func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	for _, program := range claude.Programs(commands.StandIn) {
		t.Run(program.Name, func(t *testing.T) {
			t.Parallel()
			run(t, newWorld(t, program))
		})
	}
}

// newWorld creates a world that ends with the test.
func newWorld(t *testing.T, program claude.Program) *world {
	t.Helper()
	w := &world{t: t, program: program, api: messages.Start(t, checkTool), broker: harness.NewBroker(t, commands)}
	w.broker.Start()
	t.Cleanup(func() {
		if strays := w.api.Strays(); len(strays) > 0 {
			t.Errorf("unexpected calls to the mock: %v", strays)
		}
	})
	return w
}

// world is a broker, a mesh and a mock of the Messages API.
type world struct {
	t       *testing.T
	program claude.Program
	api     *messages.Server
	broker  *harness.Broker
	owner   *person // created the mesh
}

// person is a member of the mesh with their own machine.
type person struct {
	*claude.Home
	t    *testing.T
	name string
}

// person creates a member of the mesh. The first one creates the mesh.
func (w *world) person(name string) *person {
	w.t.Helper()
	p := w.stranger(name)
	if w.owner == nil {
		w.owner = p
		p.must("create", "team", "--display-name", name)
		return p
	}
	p.must("join", strings.TrimSpace(w.owner.must("invite")), "--name", name)
	return p
}

// stranger creates a person who has joined no mesh.
func (w *world) stranger(name string) *person {
	w.t.Helper()
	p := &person{Home: claude.NewHome(w.t, w.program, w.api, commands.Dir), t: w.t, name: name}
	p.Env = append(p.Env, "CLAUDEMESH_BROKER_URL="+w.broker.WSURL())
	w.t.Cleanup(p.stopDaemon)
	return p
}

// must runs a claudemesh command, which must succeed, and returns its output.
func (p *person) must(args ...string) string {
	p.t.Helper()
	out, errOut, code := p.Run(p.t, append([]string{"claudemesh"}, args...)...)
	if code != 0 {
		p.t.Fatalf("claudemesh %v: exit code %d\n%s%s", args, code, out, errOut)
	}
	return out
}

// launch starts Claude Code through claudemesh. args are claude's arguments, for example
// --resume ID. The model may use our tools without a permission dialog.
func (p *person) launch(args ...string) *claude.Session {
	p.t.Helper()
	line := []string{"claudemesh", "launch", "-y", "--quiet", "--name", p.name, "--", "--allowedTools", strings.Join([]string{
		checkTool, sendTool, tool + "list_peers", tool + "message_status", tool + "set_status", tool + "set_summary",
	}, ",")}
	return p.Start(p.t, append(line, args...)...)
}

// daemonPID returns the process id of the person's daemon, 0 if none runs.
func (p *person) daemonPID() int {
	b, err := os.ReadFile(filepath.Join(p.Dir, ".claudemesh", "daemon.json"))
	var running struct {
		PID int `json:"pid"`
	}
	if err != nil || json.Unmarshal(b, &running) != nil || !alive(running.PID) {
		return 0
	}
	return running.PID
}

// killDaemon kills the person's daemon with SIGKILL.
func (p *person) killDaemon() {
	p.t.Helper()
	pid := p.daemonPID()
	if pid == 0 {
		p.t.Fatalf("%s has no daemon", p.name)
	}
	p.signal(pid, syscall.SIGKILL)
	p.await("the daemon is gone", func() bool { return !alive(pid) })
}

func (p *person) signal(pid int, sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		p.t.Fatal(err)
	}
}

// alive reports whether a process is running. A zombie isn't.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

// stopDaemon stops the daemon and checks its log for panics and data races.
func (p *person) stopDaemon() {
	if pid := p.daemonPID(); pid != 0 {
		if p.t.Failed() {
			out, errOut, _ := p.Run(p.t, "claudemesh", "daemon", "status", "--json")
			p.t.Logf("status of %s's daemon:\n%s%s", p.name, out, errOut)
		}
		if _, errOut, code := p.Run(p.t, "claudemesh", "daemon", "down"); code != 0 {
			p.t.Errorf("daemon down: exit code %d: %s", code, errOut)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	b, err := os.ReadFile(filepath.Join(p.Dir, ".claudemesh", "daemon.log"))
	if err != nil {
		return // no daemon was running
	}
	harness.CheckLog(p.t, p.name+"'s daemon", string(b))
}

// row is a row of the roster.
type row struct {
	Pubkey       string `json:"pubkey"`
	MemberPubkey string `json:"memberPubkey"`
	DisplayName  string `json:"displayName"`
	Status       string `json:"status"`
	Reason       string `json:"statusReason"`
	SessionID    string `json:"sessionId"`
	Channel      string `json:"channel"`
	Online       bool   `json:"online"`
	Verified     bool   `json:"verified"`
	Doubt        string `json:"doubt"`
	CannotRead   string `json:"cannotRead"`
}

// sessions returns the rows of the Claude Code sessions that the person sees. It returns nil
// if the broker doesn't answer.
func (p *person) sessions() []row {
	out, _, code := p.Run(p.t, "claudemesh", "peers", "--json")
	var rows []row
	if code != 0 || json.Unmarshal([]byte(out), &rows) != nil {
		return nil
	}
	return slices.DeleteFunc(rows, func(r row) bool { return r.Channel != "claudemesh-session" })
}

// awaitRow waits until the person sees a session with a status, and returns its row.
func (p *person) awaitRow(s *claude.Session, status string) row {
	p.t.Helper()
	var found row
	var rows []row
	await.Until(p.t, fmt.Sprintf("%s sees the session as %s", p.name, status), func() bool {
		rows = p.sessions()
		i := slices.IndexFunc(rows, func(r row) bool { return r.SessionID == s.ID() && r.Status == status && r.Online })
		if i >= 0 {
			found = rows[i]
		}
		return i >= 0
	}, func() string { return fmt.Sprintf("%+v", rows) })
	return found
}

func (p *person) await(what string, ok func() bool) {
	p.t.Helper()
	await.Until(p.t, what, ok, func() string { return "" })
}

// oneEach polls the roster until the test ends. It fails the test if the roster shows two rows
// for one session or one key, or more sessions with one name than most.
func (p *person) oneEach(most int) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	looks := 0
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			if rows := p.sessions(); rows != nil {
				looks++
				p.judge(rows, most)
			}
		}
	}()
	p.t.Cleanup(func() {
		close(stop)
		<-stopped
		if looks == 0 {
			p.t.Error("the roster was never read")
		}
	})
}

func (p *person) judge(rows []row, most int) {
	for i, r := range rows {
		same := 0
		for j, other := range rows {
			if i != j && (r.SessionID == other.SessionID || r.Pubkey == other.Pubkey) {
				p.t.Errorf("two rows for one session: %+v and %+v", r, other)
			}
			if r.DisplayName == other.DisplayName {
				same++
			}
		}
		if same > most {
			p.t.Errorf("%d rows for %s: %+v", same, r.DisplayName, rows)
		}
	}
}

var sentID = regexp.MustCompile(`^Message (\S+) to .* is (.*)\.`)

// say makes the model of a session send a message and returns the message's id. more holds
// further arguments of the tool, as JSON members.
func (w *world) say(s *claude.Session, to, text string, more ...string) string {
	w.t.Helper()
	input := []string{`"message":` + quoted(text)}
	if to != "" {
		input = append(input, `"to":`+quoted(to))
	}
	result := w.use(s, sendTool, "{"+strings.Join(append(input, more...), ",")+"}")
	id := sentID.FindStringSubmatch(result.Text)
	if result.IsError || id == nil {
		w.t.Fatalf("send_message: %s", result.Text)
	}
	return id[1]
}

// use makes the model of a session call a tool and returns the result.
func (w *world) use(s *claude.Session, name, input string) messages.Result {
	w.t.Helper()
	before := len(w.results(s.ID(), name))
	s.Ask("[[tool " + name + " " + input + "]]")
	results := w.results(s.ID(), name)
	if len(results) == before {
		w.t.Fatalf("%s was not called\n%s", name, s.Screen())
	}
	return results[len(results)-1]
}

func (w *world) results(session, name string) []messages.Result {
	return slices.DeleteFunc(w.api.Results(session), func(r messages.Result) bool { return r.Tool != name })
}

// frame is a message as a model sees it.
var frame = regexp.MustCompile(`(?s)<mesh_message([^>]*)>\n(.*?)\n</mesh_message>`)

// received returns the texts of the messages in the context of a session's model.
func (w *world) received(session string) []string {
	var texts []string
	for _, f := range w.frames(session) {
		texts = append(texts, f.text)
	}
	return texts
}

type framed struct{ attributes, text string }

func (f framed) attribute(name string) string {
	_, rest, _ := strings.Cut(f.attributes, " "+name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func (w *world) frames(session string) []framed {
	var frames []framed
	for _, result := range w.results(session, checkTool) {
		for _, m := range frame.FindAllStringSubmatch(result.Text, -1) {
			frames = append(frames, framed{m[1], m[2]})
		}
	}
	return frames
}

// awaitReceived waits until the model of a session has received exactly these messages, in
// this order.
func (w *world) awaitReceived(session string, want ...string) {
	w.t.Helper()
	await.Until(w.t, fmt.Sprintf("the model of %s has got %q", session, want), func() bool {
		return len(w.received(session)) >= len(want)
	}, func() string { return fmt.Sprintf("%q", w.received(session)) })
	if got := w.received(session); !slices.Equal(got, want) {
		w.t.Errorf("the model of %s has got %q, want %q", session, got, want)
	}
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

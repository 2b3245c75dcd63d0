package daemon

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/brokertest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// patience is the longest time that a test waits for an event.
const patience = await.Patience

const (
	daemonDirEnv   = "DAEMON_TEST_DIR"
	daemonBuiltEnv = "DAEMON_TEST_BUILT"
	denyChmodEnv   = "DAEMON_TEST_DENY_CHMOD"
)

// TestMain runs a daemon if this process was started as one.
func TestMain(m *testing.M) {
	dir := os.Getenv(daemonDirEnv)
	if dir == "" {
		goleak.VerifyTestMain(m)
		return
	}
	built, err := time.Parse(time.RFC3339Nano, os.Getenv(daemonBuiltEnv))
	if err == nil && os.Getenv(denyChmodEnv) != "" {
		err = denyChmod()
	}
	if err == nil {
		err = Run(context.Background(), Options{
			Dir: peer.Dir(dir), Build: local.Build{Version: "test", Built: built}, every: 50 * time.Millisecond,
			Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func startBroker(t *testing.T) *brokertest.Server {
	t.Helper()
	return brokertest.Start(t, brokertest.Settings(func(s *broker.Settings) { s.SendRatePerMin, s.SendBurst = 1_000_000, 1_000_000 }))
}

// user is a member with a configuration directory and its daemon.
type user struct {
	t    *testing.T
	name string
	dir  peer.Dir

	stop  context.CancelFunc // stops the daemon in this process
	ended chan error

	child *exec.Cmd // the daemon as a process of its own
}

// shortDir is like t.TempDir, but short enough for a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cmd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newUser(t *testing.T, name string) *user {
	t.Helper()
	return &user{t: t, name: name, dir: peer.Dir(shortDir(t))}
}

// up starts the daemon in this process.
func (u *user) up(change ...func(*Options)) *user {
	u.t.Helper()
	o := Options{Dir: u.dir, Build: local.Build{Version: "test"}, every: 20 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	if os.Getenv("DAEMON_TEST_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("user", u.name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	u.stop, u.ended = cancel, make(chan error, 1)
	go func() { u.ended <- Run(ctx, o) }()
	u.t.Cleanup(u.down)
	u.answers()
	return u
}

// answers waits until the daemon answers.
func (u *user) answers() {
	u.t.Helper()
	o := StartOptions{Dir: u.dir}
	await.Until(u.t, "the daemon of "+u.name+" answers", func() bool {
		select {
		case err := <-u.ended:
			u.t.Fatalf("the daemon of %s has ended: %v", u.name, err)
		default:
		}
		_, ok := o.running(context.Background())
		return ok
	})
}

// down stops the daemon in this process, as a signal would.
func (u *user) down() {
	u.t.Helper()
	if u.stop == nil {
		return
	}
	u.stop()
	u.stop = nil
	select {
	case err := <-u.ended:
		if err != nil {
			u.t.Errorf("the daemon of %s: %v", u.name, err)
		}
	case <-time.After(patience):
		u.t.Fatalf("the daemon of %s did not end", u.name)
	}
}

// upAsChild starts the daemon as a process of its own.
func (u *user) upAsChild(env ...string) {
	u.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), daemonDirEnv+"="+string(u.dir), daemonBuiltEnv+"="+time.Unix(0, 0).Format(time.RFC3339Nano))
	cmd.Env = append(cmd.Env, env...)
	log, err := os.OpenFile(u.dir.Path("child.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		u.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.child = cmd
	u.t.Cleanup(u.kill)
	await.Until(u.t, "the daemon of "+u.name+" answers", func() bool {
		o := StartOptions{Dir: u.dir}
		info, ok := o.running(context.Background())
		return ok && info.PID == cmd.Process.Pid
	})
}

// exec runs a statement on a database of the user's.
func (u *user) exec(file, statement string) {
	u.t.Helper()
	db, err := sql.Open("sqlite", u.dir.Path(file)+"?_pragma=busy_timeout(60000)")
	if err != nil {
		u.t.Fatal(err)
	}
	if _, err := db.Exec(statement); err != nil {
		u.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		u.t.Fatal(err)
	}
}

// kill ends the daemon's process at once.
func (u *user) kill() {
	if u.child == nil {
		return
	}
	_ = u.child.Process.Signal(syscall.SIGKILL)
	_ = u.child.Wait()
	u.child = nil
	if u.t.Failed() {
		log, _ := os.ReadFile(u.dir.Path("child.log"))
		u.t.Logf("daemon of %s:\n%s", u.name, log)
	}
}

// owner calls the daemon as its owner.
func (u *user) owner(verb string, in, out any) error {
	u.t.Helper()
	client, err := local.Owner(u.dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client.Call(ctx, verb, in, out)
}

func (u *user) must(verb string, in, out any) {
	u.t.Helper()
	if err := u.owner(verb, in, out); err != nil {
		u.t.Fatalf("%s: %s: %v", u.name, verb, err)
	}
}

func (u *user) status() local.Status {
	u.t.Helper()
	var s local.Status
	u.must(local.VerbStatus, nil, &s)
	return s
}

// program is a process that stands in for a session's program.
type program struct {
	t   *testing.T
	u   *user
	cmd *exec.Cmd
	id  string // session
	end sync.Once

	ended bool
}

// program starts one.
func (u *user) program(session string) *program {
	u.t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		u.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	p := &program{t: u.t, u: u, cmd: cmd, id: session}
	u.t.Cleanup(func() { in.Close(); p.kill() })
	return p
}

func (p *program) pid() int { return p.cmd.Process.Pid }

func (p *program) kill() {
	p.end.Do(func() {
		p.ended = true
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
}

// session starts a program and registers a session for it.
func (u *user) session(change ...func(*local.Register)) *program {
	u.t.Helper()
	p := u.program(uuid.NewString())
	p.register(change...)
	return p
}

func (p *program) register(change ...func(*local.Register)) local.Registered {
	p.t.Helper()
	r := local.Register{PID: p.pid(), SessionID: p.id, Source: local.SourceStartup, Cwd: "/home/" + p.u.name, Name: p.u.name + "-session"}
	for _, c := range change {
		c(&r)
	}
	var answer local.Registered
	p.u.must(local.VerbRegister, r, &answer)
	return answer
}

// connected waits until the session is connected.
func (p *program) connected() *program {
	p.t.Helper()
	await.Until(p.t, "the session of "+p.u.name+" is connected", func() bool {
		for _, s := range p.u.status().Sessions {
			if s.SessionID == p.id && len(s.Meshes) > 0 && s.Meshes[0].Connected {
				return true
			}
		}
		return false
	})
	return p
}

// call calls the daemon as the session.
func (p *program) call(verb string, in, out any) error {
	p.t.Helper()
	client, err := local.Session(p.u.dir, p.pid())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client.Call(ctx, verb, in, out)
}

func (p *program) must(verb string, in, out any) {
	p.t.Helper()
	if err := p.call(verb, in, out); err != nil {
		p.t.Fatalf("%s: %s: %v", p.u.name, verb, err)
	}
}

func (p *program) send(to, text string) local.Sent {
	p.t.Helper()
	var sent local.Sent
	p.must(local.VerbSend, local.Send{To: to, Text: text, Priority: wire.Now}, &sent)
	return sent
}

// key returns the session's key.
func (p *program) key() wire.Key {
	p.t.Helper()
	for _, s := range p.u.status().Sessions {
		if s.SessionID == p.id && len(s.Meshes) > 0 {
			return s.Meshes[0].Key
		}
	}
	p.t.Fatalf("the session of %s has no key", p.u.name)
	return wire.Key{}
}

// texts fetches messages until it has n, and returns their texts.
func (p *program) texts(n int) []string {
	p.t.Helper()
	var all []string
	await.Until(p.t, fmt.Sprintf("%d messages have come to %s", n, p.u.name), func() bool {
		var checked local.Checked
		call := uuid.NewString()
		p.must(local.VerbCheck, local.Check{ToolUseID: call}, &checked)
		p.u.must(local.VerbActivity, local.Activity{PID: p.pid(), SessionID: p.id, Ended: []string{call}}, nil)
		for _, m := range checked.Messages {
			all = append(all, m.Text)
		}
		return len(all) >= n
	})
	return all
}

// awaitState waits until a message of the session has reached a state.
func (p *program) awaitState(id string, want local.State) local.MessageStatus {
	p.t.Helper()
	var status local.MessageStatus
	await.Until(p.t, fmt.Sprintf("message %s is %s", id, want), func() bool {
		p.must(local.VerbMessageStatus, local.MessageQuery{ID: id}, &status)
		return status.State == want
	})
	return status
}

// roster returns the sessions in the mesh that a fresh connection of the user sees.
func (u *user) roster() []wire.PeerRow {
	u.t.Helper()
	client := u.dial(peer.Options{})
	defer client.Close()
	rows, err := client.ListPeers(context.Background())
	if err != nil {
		u.t.Fatal(err)
	}
	var sessions []wire.PeerRow
	for _, r := range rows {
		if r.PeerRole == wire.RoleSession {
			sessions = append(sessions, r)
		}
	}
	return sessions
}

// dial opens a connection of the user beside the daemon.
func (u *user) dial(o peer.Options) *peer.Client {
	u.t.Helper()
	config, err := peer.LoadConfig(u.dir)
	if err != nil {
		u.t.Fatal(err)
	}
	o.Mesh = config.Meshes[0]
	o.About.Capabilities = []string{wire.CapTransient}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := peer.Dial(ctx, o)
	if err != nil {
		u.t.Fatal(err)
	}
	return client
}

// gone waits until a process has ended.
func gone(t *testing.T, id process.ID) {
	t.Helper()
	await.Until(t, "the process has ended", func() bool { return !id.Alive() })
}

// lines joins texts for failure messages.
func lines(list []string) string { return strings.Join(list, " | ") }

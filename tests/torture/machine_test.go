package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// machine is a member's machine: a claudemesh daemon with one session, whose process does
// nothing.
type machine struct {
	*party
	dir     peer.Dir
	env     []string
	session string
	seen    map[string]bool // the messages that the model has got; owned by checkLoop
	pid     int             // the session's process

	daemon *exec.Cmd
	exited chan struct{} // closed when daemon has ended
}

// addMachine adds a machine with a connected session. Its world must have no broadcasts,
// because a daemon receives them both for its sessions and for itself.
func (w *world) addMachine() *machine {
	w.t.Helper()
	w.shouts = false
	name := fmt.Sprintf("machine%d", len(w.parties)+1)
	home := w.tempDir()
	m := &machine{dir: peer.Dir(filepath.Join(home, "m")), env: harness.HomeEnv(home), session: uuid.NewString(), seen: make(map[string]bool)}
	m.env = append(m.env, "CLAUDEMESH_CONFIG_DIR="+string(m.dir))
	w.check(m.dir.Make())
	w.join(m.dir, name)
	m.party = w.newParty(name)
	m.client, m.send = daemon, m.handOver
	m.startProgram()
	w.t.Cleanup(m.inspect)
	w.t.Cleanup(m.kill)
	m.start()
	m.register()
	w.actors.Go(m.checkLoop)
	return m
}

// startProgram starts a process that ends with this one.
func (m *machine) startProgram() {
	m.w.t.Helper()
	program := exec.Command("cat")
	in, err := program.StdinPipe()
	m.w.check(err)
	m.w.check(program.Start())
	m.pid = program.Process.Pid
	m.w.t.Cleanup(func() {
		in.Close()
		_ = program.Wait()
	})
}

// start starts the daemon and waits until it answers.
func (m *machine) start() {
	m.w.t.Helper()
	m.daemon = exec.Command(commands.Claudemesh, "daemon", "run", "--detached")
	m.daemon.Env, m.daemon.Dir = m.env, filepath.Dir(string(m.dir))
	log, err := os.OpenFile(m.outputPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	m.w.check(err)
	defer log.Close()
	m.daemon.Stdout, m.daemon.Stderr = log, log
	m.w.check(m.daemon.Start())
	m.exited = make(chan struct{})
	go func(daemon *exec.Cmd, exited chan struct{}) {
		_ = daemon.Wait()
		close(exited)
	}(m.daemon, m.exited)
	m.w.eventually("the daemon of "+m.name+" answers", func() bool {
		var status local.Status
		return m.owner(local.VerbStatus, nil, &status) == nil && status.PID == m.daemon.Process.Pid
	})
}

// kill kills the daemon with SIGKILL.
func (m *machine) kill() {
	if m.daemon != nil {
		_ = m.daemon.Process.Kill()
		<-m.exited
		m.daemon = nil
	}
}

func (m *machine) outputPath() string {
	return filepath.Join(filepath.Dir(string(m.dir)), "output.log")
}

// inspect checks the daemon's output and log for panics and data races.
func (m *machine) inspect() {
	for _, path := range []string{m.outputPath(), m.dir.Path("daemon.log")} {
		log, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			m.fail("%v", err)
		}
		harness.CheckLog(m.w.t, m.name, string(log))
	}
}

// owner calls the daemon as its owner.
func (m *machine) owner(verb string, in, out any) error {
	client, err := local.Owner(m.dir)
	if err != nil {
		return err
	}
	return call(client, verb, in, out)
}

// program calls the daemon as the session.
func (m *machine) program(verb string, in, out any) error {
	client, err := local.Session(m.dir, m.pid)
	if err != nil {
		return err
	}
	return call(client, verb, in, out)
}

func call(client *local.Client, verb string, in, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), rawPatience)
	defer cancel()
	return client.Call(ctx, verb, in, out)
}

// register makes the daemon connect the session and waits until it is connected.
func (m *machine) register() {
	m.w.t.Helper()
	m.w.check(m.owner(local.VerbRegister, local.Register{
		PID: m.pid, SessionID: m.session, Source: local.SourceStartup, Cwd: "/home/" + m.name, Name: m.name,
	}, nil))
	m.w.eventually(m.name+" is connected", func() bool {
		var status local.Status
		if m.owner(local.VerbStatus, nil, &status) != nil || len(status.Sessions) != 1 || len(status.Sessions[0].Meshes) != 1 {
			return false
		}
		m.key = status.Sessions[0].Meshes[0].Key.String()
		return status.Sessions[0].Meshes[0].Connected
	})
}

// handOver gives a message to the daemon, as soon as the daemon runs. Then the message is on
// disk.
func (m *machine) handOver(ctx context.Context, d draft) {
	m.insist(ctx, func() error {
		return m.program(local.VerbSend, local.Send{To: d.target, Text: d.id, Priority: wire.Now, ClientID: d.id}, nil)
	})
	if ctx.Err() != nil {
		return
	}
	m.w.ledger.ack(d.id)
	// Send as a user, so that the daemon doesn't take the flood for a loop of models.
	m.insist(ctx, func() error {
		return m.owner(local.VerbActivity, local.Activity{PID: m.pid, SessionID: m.session, Human: true}, nil)
	})
}

// checkLoop fetches messages. It repeats each call until it gets an answer and the daemon
// has its confirmation.
func (m *machine) checkLoop() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-m.w.ctx.Done():
			return
		}
		use := fmt.Sprint("use-", n)
		var checked local.Checked
		m.insist(m.w.ctx, func() error { return m.program(local.VerbCheck, local.Check{ToolUseID: use}, &checked) })
		for i := range checked.Messages {
			m.read(&checked.Messages[i])
		}
		if len(checked.Messages) > 0 {
			m.insist(m.w.ctx, func() error {
				return m.owner(local.VerbActivity, local.Activity{PID: m.pid, SessionID: m.session, Ended: []string{use}}, nil)
			})
		}
	}
}

func (m *machine) read(got *local.Message) {
	if got.Error != "" || !got.Verified {
		m.fail("%q: %s%s", got.Text, got.Error, got.Doubt)
	}
	if got.MaybeSeen && m.seen[got.Text] {
		return // the daemon died before it recorded that the model has the message
	}
	m.seen[got.Text] = true
	m.took(got.Text)
}

// insist repeats a call until it succeeds.
func (m *machine) insist(ctx context.Context, do func() error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		err := do()
		if err == nil {
			return
		}
		var refused *local.Error
		if errors.As(err, &refused) && refused.Code == local.CodeInvalid {
			m.fail("%v", err)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// killDaemons kills the daemons of senders and recipients in turn.
func killDaemons(w *world) {
	w.serve()
	w.populate()
	machines := []*machine{w.addMachine(), w.addMachine()}
	w.load()
	w.repeat(func(n int) {
		m := machines[n%len(machines)]
		m.kill()
		m.start()
	})
}

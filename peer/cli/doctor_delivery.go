package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/debuglog"
	"github.com/claudemesh/claudemesh/peer/claudecode/hook"
	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/program"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// deliveryTimeout limits the whole check.
	deliveryTimeout = 30 * time.Second
	deliveryPoll    = 50 * time.Millisecond
	// patientName is the name that peers see while the session exists.
	patientName  = "doctor"
	patientTitle = "claudemesh doctor"
	// checkTool is the name by which a model calls check_messages.
	checkTool = "mcp__plugin_claudemesh_mesh__check_messages"
)

// patient is a session that exists only for the check. This process plays its claude.
type patient struct {
	*doctor
	exe, session string
	log          string // what the last hook logged
	doubt        string // why the session doesn't consider the sender verified
}

// delivery sends a message the way that every message to a model goes: a session registers
// through the hook, a peer writes to it, a hook announces the message, the session fetches
// it, a hook confirms that, and the peer gets the receipt. If delivery had to start the
// daemon, it stops it again.
func (d *doctor) delivery(ctx context.Context) (string, error) {
	if d.app.broker != "" {
		return "", notTried("not checked, because the daemon ignores --broker")
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	exe, err := ownExecutable()
	if err != nil {
		return "", err
	}
	_, err = d.daemonStatus(ctx)
	absent := errors.Is(err, local.ErrNotRunning)
	if _, err := daemon.Start(ctx, daemon.StartOptions{Dir: d.dir, Build: local.OwnBuild(buildVersion()), Executable: exe}); err != nil {
		return "", errors.New(disk.Unwritable(d.dir, err).Error()) // as text: explain would take a timeout for one of the network
	}
	if absent {
		defer d.stopDaemon(context.WithoutCancel(ctx))
	}
	p := &patient{doctor: d, exe: exe, session: uuid.NewString()}
	defer p.leave(context.WithoutCancel(ctx))
	start := time.Now()
	key, err := p.enter(ctx)
	if err == nil {
		err = p.exchange(ctx, key)
	}
	if err != nil {
		return "", p.explain(err)
	}
	detail := fmt.Sprintf("a message went through hook, daemon and broker into a session's context, and its sender got the receipt, in %s", time.Since(start).Round(time.Millisecond))
	if p.doubt != "" {
		detail += "; but other members can't verify you: " + p.doubt
	}
	return detail, nil
}

// stopDaemon stops the daemon that the check has started, unless other sessions use it by
// now.
func (d *doctor) stopDaemon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	if status, err := d.daemonStatus(ctx); err == nil && len(status.Sessions) == 0 {
		_ = daemon.Stop(ctx, d.dir, true) // best effort: a running daemon does no harm
	}
}

// enter registers the session, runs its first hook, and returns the session's key once it is
// connected.
func (p *patient) enter(ctx context.Context) (wire.Key, error) {
	if err := p.register(ctx); err != nil {
		return wire.Key{}, fmt.Errorf("register a session: %w", err)
	}
	if _, err := p.hook(ctx, "SessionStart", map[string]any{"source": "startup", "session_title": patientTitle}); err != nil {
		return wire.Key{}, err
	}
	var key wire.Key
	reason := "the hook did not reach the daemon"
	err := p.await(ctx, &reason, func(s *local.SessionStatus) bool {
		if s.Title != patientTitle {
			return false
		}
		for _, m := range s.Meshes {
			reason = "the daemon did not connect the session: " + connectionText(m.Connected, m.Replaced, m.Error)
			key = m.Key
			return m.Connected
		}
		reason = "the session is in no mesh"
		return false
	})
	return key, err
}

// register registers the session as a trial, so that the daemon doesn't give it the user's
// messages. A hook can't do that.
func (p *patient) register(ctx context.Context) error {
	client, err := local.Owner(p.dir)
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the working directory: %w", err)
	}
	own := process.Own()
	return client.Call(ctx, local.VerbRegister, local.Register{
		PID: own.PID, Domain: own.Domain, ProcStart: own.Start, SessionID: p.session, Source: local.SourceLaunch, Cwd: cwd, Meshes: []string{p.mesh.MeshID}, Name: patientName, Trial: true,
	}, nil)
}

// exchange sends a message to the session and waits for the receipt that says that the
// message is in the session's context.
func (p *patient) exchange(ctx context.Context, to wire.Key) error {
	own, err := identity.Generate()
	if err != nil {
		return err
	}
	store, err := inbox.Open(ctx, p.dir)
	if err != nil {
		return err
	}
	defer store.Close()
	confirmed := make(chan peer.Confirmation, 16)
	sender, err := p.dial(ctx, peer.Options{
		Mesh: p.mesh, Session: own, About: p.about(), OneShot: true, TakesReceipts: true,
		OnMessage: func(ctx context.Context, m peer.Incoming) error {
			_, err := store.Add(ctx, inbox.Mailbox{MeshID: p.mesh.MeshID}, &m, time.Now())
			return err
		},
		OnConfirmation: func(_ context.Context, c peer.Confirmation) error {
			select {
			case confirmed <- c:
			default:
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	defer sender.Close()
	text := "claudemesh doctor " + own.Public().Short()
	receipt, err := sender.Send(ctx, peer.Outgoing{To: []wire.Target{{Kind: wire.TargetKey, Key: to}}, Body: []byte(text), Priority: wire.Now})
	if err != nil {
		return err
	}
	if err := p.read(ctx, text); err != nil {
		return err
	}
	for {
		select {
		case c := <-confirmed:
			for _, m := range c.Messages {
				if c.By == to && m.ClientID == receipt.ClientID && m.State == peer.ConfirmedInContext {
					return nil
				}
			}
		case <-ctx.Done():
			return errors.New("the session read the message, but its sender got no receipt; `claudemesh daemon logs` says more")
		}
	}
}

// read waits for the message and for the hook that announces it, and fetches it.
func (p *patient) read(ctx context.Context, text string) error {
	reason := "the broker accepted the message, but the daemon did not get it; `claudemesh daemon logs` says more"
	if err := p.await(ctx, &reason, func(s *local.SessionStatus) bool { return s.Unread > 0 }); err != nil {
		return err
	}
	if err := p.awaitPointer(ctx); err != nil {
		return err
	}
	client, err := local.Session(p.dir, os.Getpid())
	if err != nil {
		return fmt.Errorf("speak for the session: %w", err)
	}
	toolUse := "doctor-" + p.session
	var c local.Checked
	if err := client.Call(ctx, local.VerbCheck, local.Check{ToolUseID: toolUse}, &c); err != nil {
		return fmt.Errorf("fetch the message: %w", err)
	}
	i := slices.IndexFunc(c.Messages, func(m local.Message) bool { return m.Text == text })
	if i < 0 {
		return errors.New("the daemon did not return the message to the session; `claudemesh daemon logs` says more")
	}
	p.doubt = c.Messages[i].Doubt
	_, err = p.hook(ctx, "PostToolBatch", map[string]any{"tool_calls": []map[string]string{{"tool_name": checkTool, "tool_use_id": toolUse}}})
	return err
}

// awaitPointer runs prompt hooks until one announces the message. The first may not: the daemon may
// count the message a moment later, and on a busy machine a hook may run out of time.
func (p *patient) awaitPointer(ctx context.Context) error {
	tick := time.NewTicker(deliveryPoll)
	defer tick.Stop()
	for {
		pointer, err := p.hook(ctx, "UserPromptSubmit", map[string]any{"prompt": "doctor"})
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil && strings.Contains(pointer, "check_messages") {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the hook did not announce the message to the session; `claudemesh daemon logs` says more")
		case <-tick.C:
		}
	}
}

// hook runs the hook as Claude Code does, and returns the text that it adds to the context.
func (p *patient) hook(ctx context.Context, event string, fields map[string]any) (string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	in := map[string]any{"hook_event_name": event, "session_id": p.session, "cwd": cwd}
	for name, value := range fields {
		in[name] = value
	}
	text, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("encode the event: %w", err)
	}
	path, args := plugin.Hook(p.exe)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(program.CleanEnv(os.Environ()), "CLAUDE_PID="+strconv.Itoa(os.Getpid()), "CLAUDEMESH_CONFIG_DIR="+string(p.dir),
		hook.EnvMesh+"="+p.mesh.MeshID, hook.EnvName+"="+patientName, hook.EnvRole+"=", hook.EnvGroups+"=", debuglog.Variable+"=1")
	cmd.Stdin = bytes.NewReader(text)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	p.log = strings.TrimSpace(log.String())
	if err != nil {
		return "", fmt.Errorf("run the hook: %w", err)
	}
	var answer struct {
		Specific struct {
			Context string `json:"additionalContext"`
		} `json:"hookSpecificOutput"`
	}
	if out.Len() == 0 {
		return "", nil
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return "", fmt.Errorf("the hook did not print JSON: %w", err)
	}
	return answer.Specific.Context, nil
}

// await polls the daemon until wanted accepts the session. If ctx ends first, the error is
// *reason.
func (p *patient) await(ctx context.Context, reason *string, wanted func(*local.SessionStatus) bool) error {
	tick := time.NewTicker(deliveryPoll)
	defer tick.Stop()
	for {
		status, err := p.daemonStatus(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("ask the daemon: %w", err)
		}
		for i := range status.Sessions {
			if status.Sessions[i].SessionID == p.session && wanted(&status.Sessions[i]) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.New(*reason)
		case <-tick.C:
		}
	}
}

// leave ends the session and removes its key.
func (p *patient) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	if client, err := local.Owner(p.dir); err == nil {
		_ = client.Call(ctx, local.VerbEnd, local.End{PID: os.Getpid(), Domain: process.Domain(), SessionID: p.session, Reason: "other"}, nil)
	}
	_ = identity.OpenSessionStore(peer.SessionsRoot(p.dir)).Remove(p.mesh.Slug, p.session)
}

// explain adds the last line that the hook logged.
func (p *patient) explain(err error) error {
	if p.log == "" {
		return err
	}
	lines := strings.Split(p.log, "\n")
	return fmt.Errorf("%w (last line of the hook's log: %s)", err, lines[len(lines)-1])
}

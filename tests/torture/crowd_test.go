package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
)

// crowdVariable is the environment variable that turns the test binary into a crowd; see
// crowdMain.
const crowdVariable = "CLAUDEMESH_TORTURE_CROWD"

// crowd describes the sessions that only receive while a member abuses the broker.
type crowd struct {
	URL      string   // the broker's WebSocket
	Dirs     []string // one config directory per member, each with one mesh
	Sessions int      // sessions per member
}

// gather starts a crowd of n sessions in its own process and waits until all are connected.
// The crowd plays other people's machines, so it gets the processor only when it is idle.
func (w *world) gather(n int) {
	w.t.Helper()
	c := crowd{URL: w.url, Dirs: make([]string, 10)}
	c.Sessions = n / len(c.Dirs)
	for i := range c.Dirs {
		c.Dirs[i] = w.tempDir()
		w.join(peer.Dir(c.Dirs[i]), fmt.Sprint("crowd", i))
	}
	in, err := json.Marshal(c)
	w.check(err)
	cmd := exec.CommandContext(w.ctx, "nice", "-n", "19", os.Args[0])
	cmd.Env = append(os.Environ(), crowdVariable+"=1")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.StdoutPipe()
	w.check(err)
	w.check(cmd.Start())
	_, err = fmt.Fscanln(out)
	w.actors.Go(func() { _ = cmd.Wait() }) // w.ctx kills the process
	if err != nil {
		w.t.Fatalf("the crowd did not connect: %v", err)
	}
}

// crowdMain reads a crowd, connects its sessions, prints a line once all are connected, and
// lets them receive until the process is killed.
func crowdMain(in io.Reader, out io.Writer) error {
	var c crowd
	if err := json.NewDecoder(in).Decode(&c); err != nil {
		return fmt.Errorf("read the crowd: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	errs := make(chan error, len(c.Dirs))
	var looking sync.WaitGroup
	for i := range c.Dirs {
		go func() { errs <- c.connect(ctx, i, &looking) }()
	}
	for range c.Dirs {
		if err := <-errs; err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	looking.Wait()
	return nil
}

// connect connects the sessions of one member.
func (c *crowd) connect(ctx context.Context, member int, looking *sync.WaitGroup) error {
	config, err := peer.LoadConfig(peer.Dir(c.Dirs[member]))
	if err != nil {
		return err
	}
	who := &party{w: &world{ctx: ctx, url: c.URL}, name: fmt.Sprint("crowd", member)}
	first := &rawPeer{party: who, mesh: config.Meshes[0]}
	for range c.Sessions {
		ws, err := first.sibling().connectPatiently(ctx)
		if err != nil {
			return fmt.Errorf("connect a session of the crowd: %w", err)
		}
		looking.Go(func() { takeAll(ctx, ws, true) })
	}
	return nil
}

// sibling returns another session of the same member.
func (a *rawPeer) sibling() *rawPeer {
	session, err := identity.Generate()
	if err != nil {
		panic(err)
	}
	return &rawPeer{party: a.party, mesh: a.mesh, session: session}
}

// connectPatiently connects, with as many attempts as necessary.
func (a *rawPeer) connectPatiently(ctx context.Context) (ws *websocket.Conn, err error) {
	for range 20 {
		if ws, err = a.connect(ctx); err == nil || ctx.Err() != nil {
			return ws, err
		}
		select {
		case <-time.After(returnAfter):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, err
}

// takeAll reads until the connection ends and, if acknowledge is set, acknowledges messages.
func takeAll(ctx context.Context, ws *websocket.Conn, acknowledge bool) {
	defer ws.CloseNow()
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return
		}
		var f inFrame
		if !acknowledge || bytes.Contains(b, []byte(`"subtype":"system"`)) || json.Unmarshal(b, &f) != nil || f.Type != "push" {
			continue // as cheaply as possible, because the broker needs the processor
		}
		if write(ctx, ws, object{"type": "client_ack", "clientMessageId": f.ClientID, "brokerMessageId": f.MessageID}) != nil {
			return
		}
	}
}

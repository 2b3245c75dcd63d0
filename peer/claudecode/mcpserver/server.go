package mcpserver

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/claudecode/wake"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
)

const (
	parentInterval = 2 * time.Second // how often the server checks that claude still runs
	// channelGrace is the time between initialized and the first notification. Claude Code
	// loses earlier ones, because it has not set up the channel yet.
	channelGrace = 3 * time.Second
	// attachPatience is how long attach looks for the session of a claude process before it
	// looks for the claude process again.
	attachPatience = 10 * time.Second
)

// Config configures a server.
type Config struct {
	Dir     peer.Dir
	PID     int    // of claude: the parent of this process
	Session string // CLAUDE_CODE_SESSION_ID, which finds claude if it isn't the parent
	Version string // of this program
	Channel bool   // offer to wake the session through a channel
	// Start starts the daemon if none runs. It may be nil.
	Start func(context.Context) error
	Logf  func(format string, args ...any) // may be nil
	In    io.ReadCloser
	Out   io.WriteCloser

	grace time.Duration // 0 means channelGrace
}

// server is one run of the server.
type server struct {
	ctx    context.Context // ends with the run
	config Config
	link   *link
}

// Serve runs the server until In, claude or ctx ends. None of these is an error.
func Serve(ctx context.Context, c Config) error {
	ctx, stop := lineage.While(ctx, c.PID, parentInterval)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	s := &server{ctx: ctx, config: c, link: newLink(&c)}
	t := &transport{Transport: &mcp.IOTransport{Reader: c.In, Writer: c.Out}}
	options := &mcp.ServerOptions{
		Instructions:              instructions,
		SupportedProtocolVersions: versions,
		Capabilities:              &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	}
	if c.Channel {
		options.Capabilities.Experimental = map[string]any{"claude/channel": struct{}{}}
	}
	var once sync.Once
	options.InitializedHandler = func(context.Context, *mcp.InitializedRequest) {
		once.Do(func() {
			listening.Go(s.attach)
			if c.Channel {
				listening.Go(func() { s.channel(t) })
			}
		})
	}
	m := mcp.NewServer(&mcp.Implementation{Name: "claudemesh", Title: "claudemesh", Version: c.Version}, options)
	s.addTools(m)
	err := m.Run(ctx, t)
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// attach keeps a connection to the daemon as long as the server runs. It shows the daemon that
// the session has its tools.
func (s *server) attach() {
	for s.ctx.Err() == nil {
		l := wake.Listener{
			Dir: s.config.Dir, PID: s.link.claude(), Path: local.PathTool, Patience: attachPatience, Logf: s.config.Logf,
		}
		err := l.Listen(s.ctx, func(string) error { return nil })
		s.config.Logf("not attached: %v", err)
		if errors.Is(err, wake.ErrOver) {
			return
		}
	}
}

// channel sends the session a channel notification for each pointer to unread messages.
func (s *server) channel(t *transport) {
	grace := s.config.grace
	if grace == 0 {
		grace = channelGrace
	}
	select {
	case <-s.ctx.Done():
		return
	case <-time.After(grace):
	}
	l := wake.Listener{
		Dir: s.config.Dir, PID: s.link.claude(), Path: local.PathChannel,
		Revive: s.config.Start, Logf: s.config.Logf,
	}
	err := l.Listen(s.ctx, func(pointer string) error {
		return t.notifyChannel(s.ctx, visible.Line(pointer, visible.Model), map[string]string{"kind": "unread"})
	})
	s.config.Logf("channel ends: %v", err)
}

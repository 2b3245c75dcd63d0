package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Options configure a Client. Only Mesh is required.
type Options struct {
	// Mesh holds the broker's URL and the member's credentials.
	Mesh Mesh
	// Session makes this a session connection: the member key attests the session key anew
	// at every connect. If Session is zero, the connection is the member's own.
	Session identity.KeyPair
	// Formerly lists the sessions that this one succeeds, newest first. The broker
	// delivers their waiting messages to this client, which opens them with the keys
	// listed here. Only the newest wire.MaxSuccessions count.
	Formerly []FormerSession
	// About is what the client tells about itself. If SessionID is empty, New makes up a
	// random one. If Cwd is empty, New sets it to "/".
	About About

	// OnMessage takes a message. The message is acknowledged when it returns nil.
	// It is called by one goroutine at a time and must not wait for a Send or a
	// request of the same client. If it is nil, messages stay with the broker.
	OnMessage func(ctx context.Context, m Incoming) error
	// TakesReceipts asks the recipients of this client's direct messages for receipts; see
	// OnConfirmation.
	TakesReceipts bool
	// OnConfirmation takes receipts, under the same rules as OnMessage, which never gets
	// receipts. A receipt may come twice. If OnConfirmation is nil, receipts are dropped.
	OnConfirmation func(ctx context.Context, c Confirmation) error
	// OnSystem is called when a peer comes or goes. It must return quickly.
	OnSystem func(p wire.SystemPush)
	// OnRoster is called when the roster has changed since the last ListPeers; it is
	// called again only after another ListPeers. It must return quickly. If it is set
	// and the broker offers wire.CapRosterChanged, OnSystem is not called, and ListPeers
	// keeps the roster.
	OnRoster func()
	// OnCaughtUp is called when OnMessage has taken all messages that were waiting at the
	// time of the connect. It needs wire.CapCaughtUp in About.Capabilities.
	OnCaughtUp func()
	// OnState is called when the connection comes up or goes down. It must return quickly.
	OnState func(s State)

	// Checkpoints compares the broker's checkpoints of the mesh's audit log with those of
	// earlier connects. Only a member's own connection asks for them. May be nil.
	Checkpoints Checkpoints

	// OnDelay is called with the reason when the broker refuses a message for now and Send
	// will try again, and when a OneShot client will try again to connect. It must return
	// quickly.
	OnDelay func(reason string)
	// OnRequest is called when the client asks the broker for something; what it returns is
	// called when the broker has answered or the client has stopped waiting. Both must
	// return quickly. A Send is not a request.
	OnRequest func() (answered func())

	// OneShot is for commands: a failure of the first connection is final, and so is a
	// kick. If the broker is only away for the moment, the client tries again for up to 20 s,
	// and then fails with an *AwayError.
	OneShot bool
	// HTTPClient makes the connection; nil means one that honours HTTPS_PROXY (wss),
	// HTTP_PROXY (ws), ALL_PROXY, NO_PROXY and SSL_CERT_FILE.
	HTTPClient *http.Client
	// Logger logs the life of the connection at level Debug and failures at level Warn. If
	// it is nil, nothing is logged.
	Logger *slog.Logger

	skew *skew // of this machine's clock
}

// Checkpoints keeps checkpoints of an audit log; peer/checkpoints has one that keeps them on
// disk. Each connect calls Size and then Shown. Both must return quickly.
type Checkpoints interface {
	// Size returns the size of the newest checkpoint that is kept, 0 if none is.
	Size() int64
	// Shown takes what the broker shows; nil if it shows nothing.
	Shown(shown *wire.Checkpoints)
}

// About is what a client tells about itself in its hello; see SPEC.md, section 5.
type About struct {
	SessionID   string
	PID         int64
	Cwd         string
	DisplayName string // "": the member's name
	Hostname    string
	PeerType    string // ai, human or connector
	Channel     string // names the program, e.g. claudemesh-cli
	Model       string
	Role        string
	Groups      []wire.Group // nil: those of the previous connection, else the member's
	// Capabilities are wire.CapTransient and wire.CapCaughtUp; OnRoster adds its own.
	Capabilities []string
}

// FormerSession is a session that ended in favour of another.
type FormerSession struct {
	Pair identity.KeyPair
}

// State describes the client's connection to its broker.
type State struct {
	Connected bool
	Err       error         // why it is not connected; nil when it was closed by us
	RetryIn   time.Duration // when it tries again; 0: not at all, or connected
}

// normalized checks the options and fills in defaults.
func (o Options) normalized() (Options, error) {
	if o.Mesh.Member.IsZero() {
		return o, errors.New("options: the mesh has no member key")
	}
	if len(o.Formerly) > 0 && o.Session.IsZero() {
		return o, errors.New("options: only a session can succeed other sessions")
	}
	o.Formerly = slices.DeleteFunc(slices.Clone(o.Formerly), func(f FormerSession) bool {
		return f.Pair.IsZero() || f.Pair.Public() == o.Session.Public()
	})
	u, err := url.Parse(o.Mesh.BrokerURL)
	if err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
		return o, fmt.Errorf("broker URL %q must look like wss://host/ws or ws://127.0.0.1:7900/ws", o.Mesh.BrokerURL)
	}
	for _, name := range []*string{&o.About.DisplayName, &o.About.Hostname, &o.About.PeerType, &o.About.Channel, &o.About.Model} {
		*name = wire.CleanName(*name) // they may come from the system, a folder or another program
	}
	o.About.Groups = slices.Clone(o.About.Groups)
	for i := range o.About.Groups {
		o.About.Groups[i].Role = wire.CleanName(o.About.Groups[i].Role)
	}
	if o.About.SessionID == "" {
		o.About.SessionID = "peer-" + randomHex(8)
	}
	if o.About.Cwd == "" {
		o.About.Cwd = "/"
	}
	o.skew = new(skew)
	if o.HTTPClient == nil {
		o.HTTPClient = brokerClient()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

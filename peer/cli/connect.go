package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	channel        = "claudemesh-cli"
	connectTimeout = 40 * time.Second // a guard: the client gives up earlier
)

// repair closes the config directory to other users, and warns if it was open.
func (a *app) repair() error {
	changed, err := peer.RepairModes(a.dir)
	for _, line := range changed {
		fmt.Fprintln(a.err, "warning:", line)
	}
	return err
}

// joined returns the mesh that --mesh names, or the only one.
func (a *app) joined() (peer.Mesh, error) {
	if err := a.repair(); err != nil {
		return peer.Mesh{}, err
	}
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return peer.Mesh{}, err
	}
	m, err := config.Find(a.mesh)
	if err != nil {
		return peer.Mesh{}, err
	}
	if a.broker != "" {
		m.BrokerURL = a.broker
	}
	return *m, nil
}

// about describes this command to the broker.
func (a *app) about(capabilities ...string) peer.About {
	host, _ := os.Hostname()
	cwd, _ := os.Getwd()
	return peer.About{
		SessionID:    fmt.Sprintf("cli-%d", os.Getpid()),
		PID:          int64(os.Getpid()),
		Cwd:          visible.Cut(cwd, wire.MaxTextLen, visible.Bytes),
		Hostname:     visible.Cut(host, wire.MaxNameLen, visible.Bytes),
		PeerType:     "human",
		Channel:      channel,
		Capabilities: capabilities,
	}
}

// connect opens a connection to the chosen mesh that other peers don't see; see visitor.
func (a *app) connect(ctx context.Context) (*peer.Client, peer.Mesh, error) {
	w := a.waiting("")
	defer w.done()
	return a.connectTelling(ctx, w, "")
}

// connectTelling is connect for a command that reports its progress in w. state is appended
// to the text that it shows while it connects.
func (a *app) connectTelling(ctx context.Context, w *progress, state string) (*peer.Client, peer.Mesh, error) {
	m, err := a.joined()
	if err != nil {
		return nil, m, err
	}
	w.next("connecting to the broker at " + oneLine(m.BrokerURL) + state)
	o := a.visitor(m)
	o.OnDelay = w.because
	witness := a.witness(m)
	if witness != nil {
		o.Checkpoints = witness
	}
	client, err := a.dial(ctx, o)
	if err == nil && witness != nil {
		_, found := witness.Last()
		a.warnOfDoubt(m, witness.Record(), found)
	}
	return client, m, err
}

// visitor returns the options of a connection for one command. Other peers don't see it. If the
// broker takes long to answer, the command says so.
func (a *app) visitor(m peer.Mesh) peer.Options {
	return peer.Options{Mesh: m, About: a.about(wire.CapTransient), OneShot: true, OnRequest: func() func() {
		return a.waiting("waiting for the broker at " + oneLine(m.BrokerURL) + " to answer").done
	}}
}

func (a *app) dial(ctx context.Context, o peer.Options) (*peer.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return peer.Dial(ctx, o)
}

// proxyAdvice says how to correct the proxy settings.
const proxyAdvice = "; correct HTTPS_PROXY (for wss), HTTP_PROXY (for ws) or ALL_PROXY, with the user and password if the proxy needs them, " +
	"or add the broker's host to NO_PROXY"

// explain returns the text of an error for the user, with what to do about it.
func explain(err error) string {
	if text := textOf[*fateError](err); text != "" {
		return text
	}
	var away *peer.AwayError
	if errors.As(err, &away) {
		return explain(away.Err) + away.Advice()
	}
	for _, text := range []string{
		textOf[*peer.HelloError](err), textOf[*peer.ClosedError](err), textOf[*peer.HTTPError](err), textOf[*peer.TooLongError](err),
		textOf[*peer.RefusedError](err),
	} {
		if text != "" {
			return text // it says what to do
		}
	}
	var request *peer.RequestError
	var changed *inbox.ChangedKeyError
	switch {
	case errors.As(err, &changed):
		return changedText(changed)
	case errors.As(err, &request) && request.Code == wire.CodeUnknownType:
		return "the broker does not support this request: " + request.Error()
	case errors.As(err, &request):
		return request.Error()
	}
	return explainNetwork(err)
}

// textOf returns the text of the error of type E in err's tree, or "" if there is none.
func textOf[E error](err error) string {
	var own E
	if errors.As(err, &own) {
		return own.Error()
	}
	return ""
}

// explainNetwork is explain for the errors that keep a client from reaching a broker.
func explainNetwork(err error) string {
	var noWebSocket *peer.NoWebSocketError
	var proxy *peer.ProxyError
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &proxy):
		return "broker unreachable: " + proxy.Error() + proxyAdvice
	case errors.As(err, &op) && (op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")):
		return "broker unreachable: the proxy doesn't answer: " + op.Err.Error() + proxyAdvice
	case errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &op) && op.Addr != nil:
		return "broker unreachable: nothing listens at " + op.Addr.String() + "; is the broker running there?"
	case errors.As(err, &dns):
		return fmt.Sprintf("broker unreachable: can't resolve the host name %q; is the URL right?", dns.Name)
	case errors.As(err, &cert):
		return "the broker's certificate isn't trusted: " + cert.Err.Error() + "; if it comes from your own certificate authority, set SSL_CERT_FILE to its root certificate"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the broker doesn't speak TLS on this port; use ws:// instead of wss://, or another port"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "broker unreachable: no route to host (" + err.Error() + "); is the network up?"
	case errors.As(err, &noWebSocket):
		return "a server answers at this URL, but it isn't a claudemesh broker, or a proxy blocks WebSockets; does the path end in /ws? (" + err.Error() + ")"
	case peer.AsksToReturn(err):
		return "the broker restarts, or another node serves the mesh from now on"
	case errors.Is(err, peer.ErrDisconnected):
		return err.Error() + "; it may or may not have done what you asked for, so check before you try again"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time; is the network up, and the broker reachable? (" + err.Error() + ")"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	}
	return err.Error()
}

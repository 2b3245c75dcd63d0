// Package brokertest runs a broker for tests of clients: over HTTP on a local port, with its own
// SQLite database.
package brokertest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// Server is a running broker. It keeps its database and its port across restarts.
type Server struct {
	*broker.Broker // the running broker; nil after Stop

	t      testing.TB
	change func(*broker.Settings)
	routes func(*http.ServeMux, *broker.Broker)
	path   string // of the database
	addr   string

	mu     sync.Mutex // guards Broker and the fields below
	server *http.Server
	served chan struct{}
}

// Option changes how Start runs a broker.
type Option func(*Server)

// Settings changes the broker's default settings.
func Settings(change func(*broker.Settings)) Option { return func(s *Server) { s.change = change } }

// Routes adds routes to the default ones, with which clients create, join and use a mesh.
func Routes(add func(*http.ServeMux, *broker.Broker)) Option {
	return func(s *Server) { s.routes = add }
}

// Start runs a broker until the test ends.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := &Server{
		t: t, path: filepath.Join(t.TempDir(), "broker.db"), addr: "127.0.0.1:0",
		change: func(*broker.Settings) {}, routes: func(*http.ServeMux, *broker.Broker) {},
	}
	for _, o := range options {
		o(s)
	}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// URL returns the URL for clients: ws://…/ws.
func (s *Server) URL() string { return "ws://" + s.addr + "/ws" }

// HTTP returns the URL of a route, such as http://…/metrics for "/metrics".
func (s *Server) HTTP(path string) string { return "http://" + s.addr + path }

// Restart runs the broker again after Stop.
func (s *Server) Restart() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	store, err := sqlite.Open(s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	settings := broker.DefaultSettings()
	s.change(&settings)
	b := broker.New(broker.Options{Storage: store, Settings: settings, Log: zap.NewNop(), Version: "test"})
	if err := b.Start(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	var listener net.Listener
	await.Until(s.t, "the port is free", func() bool {
		listener, err = net.Listen("tcp", s.addr)
		return err == nil
	})
	server, served := &http.Server{Handler: s.handler(b)}, make(chan struct{})
	s.Broker, s.addr, s.server, s.served = b, listener.Addr().String(), server, served
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
}

// Stop stops the broker and closes all connections. It does nothing if the broker is stopped.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return
	}
	err := s.server.Close()
	<-s.served
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	if err := errors.Join(err, s.Broker.Stop(ctx)); err != nil {
		s.t.Error(err)
	}
	s.Broker, s.server = nil, nil
	http.DefaultClient.CloseIdleConnections()
}

func (s *Server) handler(b *broker.Broker) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if err := b.ServeWebSocket(w, r, netip.MustParseAddr("127.0.0.1")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("POST /meshes", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(c wire.CreateMesh) (any, error) { return b.CreateMesh(r.Context(), c) })
	})
	mux.HandleFunc("POST /invites/{code}/claim", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(c wire.Claim) (any, error) { return b.Claim(r.Context(), r.PathValue("code"), c) })
	})
	s.routes(mux, b)
	return mux
}

// answer decodes the body of a request, calls do, and answers with the result.
func answer[In any](w http.ResponseWriter, r *http.Request, do func(In) (any, error)) {
	var in In
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out, err := do(in)
	var refusal *mesh.Refusal
	switch {
	case errors.As(err, &refusal):
		w.WriteHeader(http.StatusBadRequest)
		out = wire.ErrorBody{Error: string(refusal.Code), Message: refusal.Message}
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
		out = wire.ErrorBody{Error: "try_again", Message: err.Error()}
	}
	_ = json.NewEncoder(w).Encode(out) // fails if the client has disconnected
}

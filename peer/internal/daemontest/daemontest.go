// Package daemontest provides a stand-in for the daemon in tests of its clients. It serves
// the calls of package local over a real Unix socket, with answers that the test gives.
package daemontest

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
)

// These are the tokens that the server accepts.
const (
	ownerToken   = "owner-token"
	SessionToken = "session-token"
)

// Session is a session's id.
const Session = "0b5ad3c2-6f5e-4a7b-9c1d-2e3f40516273"

// Server is a running stand-in.
type Server struct {
	Dir peer.Dir

	t      testing.TB
	server *http.Server
	served chan struct{} // closed when the server has ended
	closed sync.Once

	mu       sync.Mutex
	token    string // of the session
	handlers map[string]http.HandlerFunc
}

// Dir returns a config directory whose name is short enough for a socket.
func Dir(t testing.TB) peer.Dir {
	t.Helper()
	dir, err := os.MkdirTemp("", "mesh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return peer.Dir(dir)
}

// Child starts a process that stands for one of Claude Code's. It runs until the test ends.
func Child(t testing.TB) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails if the test has ended it
		_ = cmd.Wait()
	})
	return cmd
}

// Start serves a directory until the test ends, Stop or Crash.
func Start(t testing.TB, dir peer.Dir) *Server {
	t.Helper()
	s := &Server{Dir: dir, t: t, token: SessionToken, handlers: map[string]http.HandlerFunc{}}
	socket := local.SocketPaths(dir)[0]
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s.server = &http.Server{Handler: s}
	s.served = make(chan struct{})
	go func() {
		defer close(s.served)
		_ = s.server.Serve(l)
	}()
	writeJSON(t, dir.Path(local.InfoName), local.Info{PID: os.Getpid(), Socket: socket, Token: ownerToken})
	t.Cleanup(s.Crash)
	return s
}

// Crash ends the server abruptly.
func (s *Server) Crash() {
	s.closed.Do(func() {
		_ = s.server.Close()
		<-s.served
	})
}

// Stop shuts the server down.
func (s *Server) Stop() {
	_ = os.Remove(s.Dir.Path(local.InfoName))
	s.Crash()
}

// SetToken changes the session's token, as a restart may.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// HandleFunc serves a verb. Later calls replace earlier ones.
func (s *Server) HandleFunc(verb string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[verb] = h
}

// Handle serves a verb with a function of its request. If the function returns a
// *local.Error, the server answers with that error.
func Handle[In any](s *Server, verb string, f func(In) (any, error)) {
	s.HandleFunc(verb, func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			s.t.Errorf("%s: %v", verb, err)
		}
		out, err := f(in)
		if err != nil {
			refuse(w, err)
			return
		}
		if out == nil {
			out = struct{}{}
		}
		_ = json.NewEncoder(w).Encode(out) // the client may be gone
	})
}

func refuse(w http.ResponseWriter, err error) {
	refused := &local.Error{Status: http.StatusInternalServerError, Code: local.CodeInternal, Message: err.Error()}
	errors.As(err, &refused)
	w.WriteHeader(refused.Status)
	_ = json.NewEncoder(w).Encode(refused) // the client may be gone
}

// ServeHTTP checks the token and calls the handler of the verb.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verb := strings.TrimPrefix(r.URL.Path, "/v1/")
	s.mu.Lock()
	handler, token := s.handlers[verb], s.token
	s.mu.Unlock()
	switch verb {
	case local.VerbRegister, local.VerbActivity, local.VerbPrinted, local.VerbEnd, local.VerbStatus, local.VerbShutdown:
		token = ownerToken
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		refuse(w, &local.Error{Status: http.StatusUnauthorized, Code: local.CodeUnauthorized, Message: "no such token"})
	case handler == nil:
		refuse(w, &local.Error{Status: http.StatusNotFound, Code: local.CodeNotFound, Message: "no such call"})
	default:
		handler(w, r)
	}
}

// Ticket registers a process as the claude process of a session.
func Ticket(t testing.TB, dir peer.Dir, pid int, session, token string) {
	t.Helper()
	id, err := process.Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	writeJSON(t, local.TicketPath(dir, id.Number), local.Ticket{PID: pid, ProcStart: id.Start, SessionID: session, Token: token})
}

// writeJSON writes a file atomically.
func writeJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

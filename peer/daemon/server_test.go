package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
)

// raw makes a call with an arbitrary body.
func (u *user) raw(method, path, token, body string) (int, local.Error) {
	u.t.Helper()
	info, err := local.ReadInfo(u.dir)
	if err != nil {
		u.t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", info.Socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://daemon"+path, strings.NewReader(body))
	if err != nil {
		u.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	var e local.Error
	if resp.StatusCode >= 400 {
		if err := json.Unmarshal(b, &e); err != nil || e.Message == "" {
			u.t.Errorf("%s %s: %d without a reason: %q", method, path, resp.StatusCode, b)
		}
	}
	return resp.StatusCode, e
}

func TestCallsNeedTheirToken(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	p := alice.session().connected()
	info, err := local.ReadInfo(alice.dir)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := local.ReadTicket(alice.dir, p.pid())
	if err != nil {
		t.Fatal(err)
	}
	owner, session := "Bearer "+info.Token, "Bearer "+ticket.Token
	for _, tc := range []struct {
		name, method, path, token, body, code string
		status                                int
	}{
		{"no token", "POST", "/v1/status", "", "{}", local.CodeUnauthorized, 401},
		{"wrong token", "POST", "/v1/status", owner + "0", "{}", local.CodeUnauthorized, 401},
		{"empty token", "POST", "/v1/unread", "Bearer ", "{}", local.CodeUnauthorized, 401},
		{"session as owner", "POST", "/v1/register", session, "{}", local.CodeUnauthorized, 401},
		{"owner as session", "POST", "/v1/unread", owner, "{}", local.CodeUnauthorized, 401},
		{"no JSON", "POST", "/v1/register", owner, "{", local.CodeInvalid, 400},
		{"mistyped", "POST", "/v1/register", owner, `{"pid":"x"}`, local.CodeInvalid, 400},
		{"too long", "POST", "/v1/register", owner, `{"name":"` + strings.Repeat("x", local.MaxBody) + `"}`, local.CodeInvalid, 400},
		{"unknown verb", "POST", "/v1/exec", owner, "{}", local.CodeNotFound, 404},
		{"unknown version", "POST", "/v9/status", owner, "{}", local.CodeNotFound, 404},
		{"not a POST", "GET", "/v1/status", owner, "", local.CodeNotFound, 404},
		{"unknown fields", "POST", "/v1/status", owner, `{"x":{"y":1}}`, "", 200},
		{"unknown fields of a session", "POST", "/v1/unread", session, `{"x":1}`, "", 200},
	} {
		if status, e := alice.raw(tc.method, tc.path, tc.token, tc.body); status != tc.status || e.Code != tc.code {
			t.Errorf("%s: %d %+v", tc.name, status, e)
		}
	}
	for verb, v := range verbs {
		token := owner
		if v.owner {
			token = session
		}
		if status, _ := alice.raw("POST", "/v1/"+verb, token, "{}"); status != http.StatusUnauthorized {
			t.Errorf("%s with the other kind of token: %d", verb, status)
		}
	}
}

func TestFilesAreForThisUserOnly(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	if err := os.Chmod(string(alice.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	alice.up()
	alice.session().connected()
	err := filepath.WalkDir(string(alice.dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(local.SocketPaths(alice.dir)[0]); err != nil || info.Mode().Perm() != 0o600 || info.Mode()&fs.ModeSocket == 0 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
}

// TestRepairedModesAreLogged checks that a daemon closes its directory to other users and says so.
func TestRepairedModesAreLogged(t *testing.T) {
	t.Parallel()
	alice := newUser(t, "alice")
	if err := os.Chmod(string(alice.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	alice.up(func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	if info, err := os.Stat(string(alice.dir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
	if !strings.Contains(log.String(), "was open to other users (mode 0755)") {
		t.Errorf("the daemon did not say what it has changed:\n%s", log.String())
	}
}

func TestLongPathsGetAShortSocket(t *testing.T) {
	tmp, long := shortDir(t), strings.Repeat("long-", 20)
	t.Run("TMPDIR is short", func(t *testing.T) { getsShortSocket(t, tmp, tmp) })
	t.Run("TMPDIR is long", func(t *testing.T) { getsShortSocket(t, filepath.Join(tmp, long), "/tmp/claudemesh-") })
}

// getsShortSocket checks that the socket of a daemon whose directory has a long path has a path that
// begins with want.
func getsShortSocket(t *testing.T, tmp, want string) {
	alice := newUser(t, "alice")
	alice.dir = peer.Dir(filepath.Join(string(alice.dir), strings.Repeat("long-", 20)))
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	alice.up()
	info, err := local.ReadInfo(alice.dir)
	if err != nil || !strings.HasPrefix(info.Socket, want) {
		t.Fatalf("socket %s, %v", info.Socket, err)
	}
	if dir, err := os.Stat(filepath.Dir(info.Socket)); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("directory of the socket: %v, %v", dir.Mode(), err)
	}
	alice.down()
	if _, err := os.Stat(info.Socket); err == nil {
		t.Error("the stopped daemon left its socket")
	}
	if _, err := local.ReadInfo(alice.dir); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("info of a stopped daemon: %v", err)
	}
}

func TestSocketDirectoryMustBeOurs(t *testing.T) {
	t.Parallel()
	root := shortDir(t)
	if err := os.Symlink(root, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := ownDir(filepath.Join(root, "link"), false); err == nil {
		t.Error("a symbolic link was accepted")
	}
	if err := ownDir(filepath.Join(root, "link"), true); err != nil {
		t.Errorf("a link to the configuration directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ownDir(filepath.Join(root, "file"), false); err == nil {
		t.Error("a file was accepted")
	}
}

// goneWriter is a ResponseWriter whose caller has hung up.
type goneWriter struct {
	http.ResponseWriter
	headers int
}

func (*goneWriter) Write([]byte) (int, error)        { return 0, syscall.EPIPE }
func (w *goneWriter) WriteHeader(int)                { w.headers++ }
func (*goneWriter) SetReadDeadline(time.Time) error  { return nil }
func (*goneWriter) SetWriteDeadline(time.Time) error { return nil }

// TestCallerGone checks that an answer that can't be written does not become an error,
// which would need a second header.
func TestCallerGone(t *testing.T) {
	t.Parallel()
	d := &daemon{log: slog.New(slog.DiscardHandler)}
	w := &goneWriter{ResponseWriter: httptest.NewRecorder()}
	c := &call{w: w, d: d}
	err := c.answer(nil)
	if !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("answer: %v", err)
	}
	if c.fail(err); w.headers != 0 {
		t.Errorf("%d headers after the answer had begun", w.headers)
	}
	c = &call{w: w, d: d}
	if c.fail(errStopping); w.headers != 1 {
		t.Errorf("%d headers for an error before the answer", w.headers)
	}
}

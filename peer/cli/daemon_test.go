package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// TestInboxLeavesTheMailToTheDaemon checks that while a daemon receives the messages of a
// mesh, inbox shows what the daemon has stored and doesn't connect itself.
func TestInboxLeavesTheMailToTheDaemon(t *testing.T) {
	dir := daemontest.Dir(t)
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	m := peer.Mesh{
		MeshID: strings.Repeat("1", 32), MemberID: strings.Repeat("2", 32), Slug: "team", Name: "team", Member: key,
		BrokerURL: "ws://127.0.0.1:1/ws", JoinedAt: time.Now(), Key: envelope.NewMeshKey(),
	}
	if err := peer.UpdateConfig(t.Context(), dir, func(c *peer.Config) error { c.Put(m); return nil }); err != nil {
		t.Fatal(err)
	}
	store, err := inbox.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	message := peer.Incoming{MessageID: "m1", Sender: newKey(t), Name: "bob", Sealing: peer.Direct, Body: []byte("stored text"), Priority: wire.Next}
	if _, err := store.Add(t.Context(), inbox.Mailbox{MeshID: m.MeshID}, &message, time.Now()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- daemon.Run(ctx, daemon.Options{Dir: dir, Build: local.OwnBuild("test")}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("daemon: %v", err)
		}
	})
	await.Until(t, "the daemon answers", func() bool {
		serves, _ := (&app{dir: dir}).daemonServes(t.Context(), m.MeshID)
		return serves
	})
	t.Setenv("CLAUDEMESH_CONFIG_DIR", string(dir))
	var out, errOut bytes.Buffer
	if code := Main([]string{"inbox"}, strings.NewReader(""), &out, &errOut); code != exitOK {
		t.Errorf("code %d: %s", code, errOut.String())
	}
	if !strings.Contains(out.String(), "stored text") || !strings.Contains(errOut.String(), "The daemon isn't connected") {
		t.Errorf("printed %q, and %q", out.String(), errOut.String())
	}
	out.Reset()
	if code := Main([]string{"daemon", "status"}, strings.NewReader(""), &out, &errOut); code != exitOK || !strings.Contains(out.String(), "team") {
		t.Errorf("status: code %d: %q %q", code, out.String(), errOut.String())
	}
}

// TestInboxNoticesTheEndOfTheDaemon checks that inbox --follow doesn't wait for a daemon that has
// ended, and says when the daemon loses its connection.
func TestInboxNoticesTheEndOfTheDaemon(t *testing.T) {
	dir := daemontest.Dir(t)
	store, err := inbox.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	d := daemontest.Start(t, dir)
	asked := make(chan struct{}, 1)
	daemontest.Handle(d, local.VerbStatus, func(struct{}) (any, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		return local.Status{Meshes: []local.MeshStatus{{MeshID: "m", Error: "no route\x1b"}}}, nil
	})
	var errOut bytes.Buffer
	r := &reader{app: &app{dir: dir, out: io.Discard, err: &errOut}, flags: &inboxFlags{follow: true}, mesh: peer.Mesh{MeshID: "m", Slug: "team"}, store: store}
	ended := make(chan error, 1)
	go func() { ended <- r.readDaemon(t.Context(), "it is connecting", time.Nanosecond) }()
	<-asked
	<-asked // the first answer has been used
	d.Stop()
	if err := <-ended; !errors.Is(err, errDaemonGone) {
		t.Errorf("got %v", err)
	}
	if told := errOut.String(); strings.Count(told, `isn't connected to the broker: no route\u{1B}`) != 1 {
		t.Errorf("told %q", told)
	}
}

func TestDaemonWithoutADaemon(t *testing.T) {
	t.Setenv("CLAUDEMESH_CONFIG_DIR", t.TempDir())
	for _, tc := range []struct {
		args string
		code int
		says string
	}{
		{"daemon status", exitFailed, "not running"},
		{"daemon logs", exitFailed, "there is no log"},
		{"daemon down", exitOK, "not running"},
		{"daemon logs --lines -1", exitUsage, "--lines"},
	} {
		var out, errOut bytes.Buffer
		code := Main(strings.Fields(tc.args), strings.NewReader(""), &out, &errOut)
		if code != tc.code || !strings.Contains(out.String()+errOut.String(), tc.says) {
			t.Errorf("%s: code %d: %q %q", tc.args, code, out.String(), errOut.String())
		}
	}
}

func TestSessionRows(t *testing.T) {
	t.Parallel()
	s := local.SessionStatus{
		SessionID: "0123456789", Name: "n", PIDs: []int{7, 8}, Status: wire.Working, Reason: "waiting", Unread: 2, Wake: "monitor", Cwd: "/w",
		Meshes: []local.SessionInMesh{{Slug: "a", Connected: true}, {Slug: "b", Replaced: true}},
	}
	rows := sessionRows(&s)
	if len(rows) != 2 || strings.Join(rows[0], "|") != "01234567|n|7,8|working (waiting)|a|connected|2 unread|monitor|/w" ||
		rows[1][0] != "" || rows[1][4] != "b" || !strings.HasPrefix(rows[1][5], "conflict") {
		t.Errorf("rows %q", rows)
	}
	s.Meshes = nil
	if rows := sessionRows(&s); len(rows) != 1 || rows[0][4] != "none" || len(rows[0]) != 9 {
		t.Errorf("without a mesh: %q", rows)
	}
}

func TestLogTail(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in    string
		lines int
		want  string
	}{
		{"", 3, ""}, {"a\nb\n", 3, "a\nb\n"}, {"a\nb\nc\nd\n", 3, "b\nc\nd\n"}, {"a\nb\nc\nd\ne\nf", 4, "c\nd\ne\nf"},
		{"a\n", 0, ""}, {"a\x1b[2J\n", 1, `a\u{1B}[2J` + "\n"}, {"a\nb\n", math.MaxInt, "a\nb\n"},
	} {
		var out bytes.Buffer
		a := &app{out: &out}
		if err := a.printTail(strings.NewReader(tc.in), tc.lines); err != nil || out.String() != tc.want {
			t.Errorf("%q: %q, %v", tc.in, out.String(), err)
		}
	}
}

func TestFollowRotatedLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	if err := os.WriteFile(path, []byte("long ago\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	a := &app{out: &bytes.Buffer{}}
	if err := a.printTail(file, 1); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("new\n"), 0o600); err != nil { // truncates
		t.Fatal(err)
	}
	if err := rewindIfCut(file); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, 10)
	if n, err := file.Read(rest); err != nil || string(rest[:n]) != "new\n" {
		t.Errorf("read on: %q, %v", rest[:n], err)
	}
}

// stutter is a log that grows by one byte at each read, and never ends.
type stutter struct {
	text string
	at   int
	stop func() // at the end of the text
}

func (s *stutter) Read(p []byte) (int, error) {
	if s.at == len(s.text) {
		s.stop()
		return 0, io.EOF
	}
	s.at++
	return copy(p, s.text[s.at-1:s.at]), nil
}

func (s *stutter) Seek(int64, int) (int64, error) { return int64(s.at), nil }

// TestFollowKeepsCharactersWhole checks that logs --follow shows a character whose bytes arrive one
// by one, and makes escapes harmless.
func TestFollowKeepsCharactersWhole(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	err := (&app{out: &out}).followLog(ctx, &stutter{text: "日本 👩\u200d💻\x1b[2J\nhalf a line", stop: cancel})
	if want := "日本 👩\u200d💻\\u{1B}[2J\n"; err != nil || out.String() != want {
		t.Errorf("printed %q, %v, want %q", out.String(), err, want)
	}
}

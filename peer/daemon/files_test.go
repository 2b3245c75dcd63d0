package daemon

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
)

func TestLogIsPutAside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	log, err := openLog(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	other, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	entry := func(c string) string { return strings.Repeat(c, 39) + "\n" }
	for _, c := range []string{"a", "b", "c", "d", "e"} {
		if _, err := log.Write([]byte(entry(c))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.WriteString("panic\n"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path: entry("e") + "panic\n", path + ".1": entry("c") + entry("d")} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	again, err := openLog(path, 100)
	if err != nil || again.size != 46 {
		t.Fatalf("opened again: %d bytes, %v", again.size, err)
	}
	again.Close()
}

// TestLogThatCannotBePutAside checks that a log tells that its previous part is missing.
func TestLogThatCannotBePutAside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	if err := os.Mkdir(path+".1", 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := openLog(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, entry := range []string{"first 1\n", "second 2\n"} {
		if _, err := log.Write([]byte(entry)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(got), "the previous log was lost: ") || !strings.HasSuffix(string(got), "\nsecond 2\n") || log.size != int64(len(got)) {
		t.Errorf("%q with size %d, %v", got, log.size, err)
	}
}

func TestServiceFiles(t *testing.T) {
	t.Setenv("HOME", "/home/a b")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("CLAUDEMESH_CONFIG_DIR", `/x/50% "of" <$HOME>`)
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	t.Setenv("CLAUDE_CONFIG_DIR", "/claude")
	t.Setenv("SSL_CERT_FILE", "/ca.pem")
	t.Setenv("HTTPS_PROXY", "http://me:100%25@proxy:3128")
	t.Setenv("ANTHROPIC_API_KEY", "secret")
	s, err := NewService("/opt/my tools/claudemesh", "/log")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := s.File("linux", 7)
	if err != nil || unit.Path != "/home/a b/.config/systemd/user/claudemesh-daemon.service" {
		t.Errorf("%s, %v", unit.Path, err)
	}
	for _, line := range []string{
		`ExecStart="/opt/my tools/claudemesh" daemon run`,
		`Environment="CLAUDEMESH_CONFIG_DIR=/x/50%% \"of\" <$HOME>"`,
		`Environment="CLAUDE_CONFIG_DIR=/claude"`,
		`Environment="SSL_CERT_FILE=/ca.pem"`,
		`Environment="HTTPS_PROXY=http://me:100%%25@proxy:3128"`,
		"WantedBy=default.target",
	} {
		if !strings.Contains(unit.Text, "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, unit.Text)
		}
	}
	if strings.Contains(unit.Text, "secret") {
		t.Errorf("the unit has unexpected lines:\n%s", unit.Text)
	}
	agent, err := s.File("darwin", 7)
	if err != nil || agent.Path != "/home/a b/Library/LaunchAgents/org.claudemesh.daemon.plist" || agent.Stop[0][2] != "gui/7/org.claudemesh.daemon" {
		t.Errorf("%+v, %v", agent, err)
	}
	if !strings.Contains(agent.Text, "<string>/x/50% &#34;of&#34; &lt;$HOME&gt;</string>") {
		t.Errorf("the directory is not in\n%s", agent.Text)
	}
	for dec := xml.NewDecoder(strings.NewReader(agent.Text)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plist is not XML: %v", err)
		}
	}
	if _, err := s.File("plan9", 7); !errors.Is(err, errNoServices) {
		t.Errorf("another system: %v", err)
	}
}

func TestCleanEnv(t *testing.T) {
	t.Parallel()
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got, err := cleanEnv([]string{
		"PATH=/bin", "HOME=/h", "LC_ALL=C", "ANTHROPIC_API_KEY=secret", "CLAUDE_CODE_SESSION_ID=x", "CLAUDE_PID=7", "CLAUDECODE=1",
		"AWS_SECRET_ACCESS_KEY=secret", "CLAUDEMESH_NAME=x", "CLAUDEMESH_CONFIG_DIR=/other", "CLAUDEMESH_SESSIONS_DIR=/s", "HTTPS_PROXY=p",
		"CLAUDE_CONFIG_DIR=../x", "SSL_CERT_FILE=ca.pem", "SSL_CERT_DIR=a:/b", "NO_PROXY=",
	}, "/dir")
	want := []string{"CLAUDEMESH_CONFIG_DIR=/dir", "PATH=/bin", "HOME=/h", "LC_ALL=C", "CLAUDEMESH_SESSIONS_DIR=/s", "HTTPS_PROXY=p",
		"CLAUDE_CONFIG_DIR=" + filepath.Join(filepath.Dir(cwd), "x"), "SSL_CERT_FILE=" + filepath.Join(cwd, "ca.pem"), "SSL_CERT_DIR=" + filepath.Join(cwd, "a") + ":/b", "NO_PROXY="}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOverallState(t *testing.T) {
	t.Parallel()
	of := func(states ...local.State) (list []local.RecipientStatus) {
		for _, s := range states {
			list = append(list, local.RecipientStatus{State: s})
		}
		return list
	}
	for _, tc := range []struct {
		in   []local.RecipientStatus
		want local.State
	}{
		{nil, local.Queued}, {of(local.InContext), local.InContext}, {of(local.InContext, local.Queued, local.Delivered), local.Queued},
		{of(local.Refused), local.Refused}, {of(local.Refused, local.Delivered), local.Delivered}, {of(local.Expired, local.Refused), local.Expired},
	} {
		if got, _ := overall(tc.in, local.Queued); got != tc.want {
			t.Errorf("%v: %s", tc.in, got)
		}
	}
}

func TestEndsWhenItsDirectoryIsGone(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		u := newUser(t, "alice").up()
		await.Until(t, "the directory is gone", func() bool { // the daemon may write while it is removed
			return os.RemoveAll(string(u.dir)) == nil
		})
		next := &user{t: t, name: "next", dir: u.dir}
		if again { // another daemon serves the replacement
			next.up()
		}
		if err := <-u.ended; !errors.Is(err, errDirLost) {
			t.Errorf("ended with %v", err)
		}
		u.stop = nil
		if again {
			next.answers()
			next.down()
		}
	}
}

// TestServiceProgram checks that the program that a service starts can be read back from
// its definition, whatever its path is.
func TestServiceProgram(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/usr/bin/claudemesh", `/opt/50% "odd" \n\\dir/it's <a> & b/claudemesh`, "/two\nlines"} {
		s := Service{Executable: path}
		for name, text := range map[string]string{"unit": s.unit(), "plist": s.plist()} {
			if got := ServiceProgram(text); got != path {
				t.Errorf("%s: %q, want %q", name, got, path)
			}
		}
	}
	for _, text := range []string{"", "[Service]\nExecStart=/bin/true\n", "<plist/>"} {
		if got := ServiceProgram(text); got != "" {
			t.Errorf("%q starts %q", text, got)
		}
	}
}

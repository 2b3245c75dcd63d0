package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestTranscript checks the output of a new user's first commands.
func TestTranscript(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, s *server) { transcript(t, s) })
}

// TestTranscriptOverTLS is TestTranscript over wss, with a certificate from Caddy's internal
// CA.
func TestTranscriptOverTLS(t *testing.T) {
	t.Parallel()
	tlsPort := freePort(t)
	site := "localhost:" + strconv.Itoa(tlsPort)
	s := newServer(t, "CLAUDEMESH_SITE=https://"+site)
	// The shipped Caddyfile, but without port 80.
	s.Config = filepath.Join(s.Home, "Caddyfile")
	shipped, err := os.ReadFile(filepath.Join(commands.Repo, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	const option = "\tskip_install_trust\n"
	config := strings.Replace(string(shipped), option, fmt.Sprintf("%s\thttp_port %d\n", option, freePort(t)), 1)
	if err := os.WriteFile(s.Config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start()
	root := filepath.Join(s.Home, "data", "caddy", "pki", "authorities", "local", "root.crt")
	await.Until(t, "the certificate authority exists", func() bool { _, err := os.Stat(root); return err == nil })
	url := "CLAUDEMESH_BROKER_URL=wss://" + site + "/ws"

	trusting := []string{url, "SSL_CERT_FILE=" + root}
	await.Until(t, "Caddy has the certificate", func() bool {
		_, _, code := newPerson(t, s, trusting...).run("create", "probe")
		return code == 0
	})
	newPerson(t, s, url).fails(1, "certificate isn't trusted", "create", "team")
	transcript(t, s, trusting...)
}

func transcript(t *testing.T, s *server, env ...string) {
	alice, bob := newPerson(t, s, env...), newPerson(t, s, env...)
	alice.must("create", "team")
	link := alice.invite()
	if lines := strings.Split(link, "\n"); len(lines) != 1 {
		t.Fatalf("invite prints %q", link)
	}
	bob.must("join", link, "--name", "bob")
	inbox := bob.start("inbox", "--follow")
	await.Until(t, "bob is there", func() bool { return strings.Contains(alice.must("peers"), "bob") })
	out := alice.must("send", "bob", "the build is green")
	if !regexp.MustCompile(`^[0-9a-f]{8}  delivered to bob\n$`).MatchString(out) {
		t.Errorf("send prints %q", out)
	}
	if line := inbox.line(); !strings.HasSuffix(line, ": the build is green") {
		t.Errorf("bob's terminal shows %q", line)
	}
	inbox.stop()

	for _, text := range []string{"first", "second"} {
		if out := alice.must("send", "bob", text); !regexp.MustCompile(`^[0-9a-f]{8}  queued for bob`).MatchString(out) {
			t.Errorf("send prints %q", out)
		}
		s.Stop()
		s.Start()
	}
	inbox = bob.start("inbox", "--follow")
	for _, want := range []string{"first", "second"} {
		if line := inbox.line(); !strings.HasSuffix(line, ": "+want) {
			t.Errorf("bob's terminal shows %q, want %q", line, want)
		}
	}
	alice.must("send", "bob", "last")
	if line := inbox.line(); !strings.HasSuffix(line, ": last") { // and nothing in between
		t.Errorf("bob's terminal shows %q", line)
	}
	inbox.stop()
	if out := bob.must("inbox", "--all"); strings.Count(out, "\n") != 4 {
		t.Errorf("the whole inbox:\n%s", out)
	}
	if out := bob.must("inbox"); out != "" {
		t.Errorf("shown again: %q", out)
	}
}

func TestCommand(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"exit codes", exitCodes},
		{"json", jsonOutputs},
		{"stdin and groups", sendForms},
		{"v1 links", v1Links},
		{"invites that are over", deadInvites},
		{"block and remove", blockAndRemove},
		{"changed keys", changedKeys},
		{"inbox over a restart", func(t *testing.T, s *server) { followThrough(t) }},
	})
}

func exitCodes(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.fails(1, "you have not joined a mesh yet", "peers")
	alice.must("create", "team")
	alice.fails(2, "Bad Slug", "create", "Bad Slug")
	alice.fails(2, "", "send", "bob")
	alice.fails(2, "", "nonsense")
	alice.fails(2, "--priority", "send", "bob", "x", "--priority", "urgent")
	alice.fails(2, "", "send", "bob", "")
	alice.fails(1, `no member or session in this mesh is called "bob"`, "send", "bob", "x")
	alice.fails(1, "target_not_found", "send", newKeys().hex, "x")
	alice.fails(1, "60000 bytes, and this broker accepts at most 49", "send", "@all", strings.Repeat("x", 60_000))
	alice.fails(2, "isn't an invite link", "join", "https://example.com/")
	alice.fails(1, "broker unreachable", "peers", "--broker", "ws://127.0.0.1:1/ws")
	if out := alice.must("version"); strings.TrimSpace(out) == "" {
		t.Error("version prints nothing")
	}
	if info, err := os.Stat(filepath.Join(alice.dir, "config.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("config file: %v %v", info.Mode(), err)
	}
	if info, err := os.Stat(alice.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("config directory: %v %v", info.Mode(), err)
	}
}

func jsonOutputs(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	invite := parse(t, alice.must("invite", "--json", "--uses", "2", "--expires", "2d", "--groups", "dev"))
	if invite["uses"] != 2.0 || invite.str("role") != "member" || !strings.HasPrefix(invite.str("link"), "http://127.0.0.1:") {
		t.Errorf("invite: %s", invite)
	}
	bob.must("join", invite.str("link"), "--name", "bob")
	inbox := bob.start("inbox", "--follow", "--json")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 1 })
	row := alice.list("peers", "--json")[0]
	groups := row.list("groups")
	if row.str("displayName") != "bob" || row.str("status") != "idle" || row["online"] != true || len(groups) != 1 || groups[0].str("name") != "dev" {
		t.Errorf("peers: %s", row)
	}
	sent := parse(t, alice.must("send", "bob", "hello", "--json", "--priority", "now"))
	if sent["delivered"] != true || !idPattern.MatchString(sent.str("messageId")) || len(sent.list("recipients")) != 1 {
		t.Errorf("send: %s", sent)
	}
	m := parse(t, inbox.line())
	if m.str("messageId") != sent.str("messageId") || m.str("body") != "hello" || m.str("sealing") != "direct" || m.str("priority") != "now" {
		t.Errorf("inbox: %s", m)
	}
	if status := parse(t, alice.must("status", sent.str("messageId"), "--json")); status["delivered"] != true {
		t.Errorf("status: %s", status)
	}
	for _, args := range [][]string{{"members"}, {"meshes"}, {"invites"}, {"audit"}, {"doctor"}, {"peers", "--all"}} {
		if rows := alice.list(append(args, "--json")...); len(rows) == 0 {
			t.Errorf("%v --json is empty", args)
		}
	}
	alice.must("audit", "verify")
	bob.fails(1, "owner and admins", "audit")
}

func sendForms(t *testing.T, s *server) {
	alice, bob, carol := newPerson(t, s), newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite("--groups", "dev/web"), "--name", "bob")
	carol.must("join", alice.invite(), "--name", "carol")
	bobs, carols := bob.start("inbox", "-f", "--json"), carol.start("inbox", "-f", "--json")
	await.Until(t, "both are there", func() bool { return len(alice.list("peers", "--json")) == 2 })

	if _, errOut, code := alice.runWith("two\nlines\n", "send", "bob", "-"); code != 0 {
		t.Fatalf("send from stdin: %s", errOut)
	}
	if m := parse(t, bobs.line()); m.str("body") != "two\nlines" {
		t.Errorf("got %s", m)
	}
	alice.must("send", "@dev", "to dev")
	alice.must("send", "@all", "to all")
	for _, want := range []string{"to dev", "to all"} {
		if m := parse(t, bobs.line()); m.str("body") != want || m.str("sealing") != "mesh" {
			t.Errorf("got %s, want %q", m, want)
		}
	}
	if m := parse(t, carols.line()); m.str("body") != "to all" {
		t.Errorf("got %s", m)
	}
}

// v1Links checks that the command creates and joins v1 links, and that it opens a message
// from a v1 client or shows that it can't.
func v1Links(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	link := alice.invite("--format", "v1", "--uses", "2")
	if !strings.HasPrefix(link, "ic://join/") {
		t.Fatalf("link: %s", link)
	}
	bob.must("join", link, "--name", "bob")
	if a, b := alice.config(), bob.config(); a.str("rootKey") != b.str("rootKey") || a.str("meshId") != b.str("meshId") {
		t.Errorf("config of alice %s, of bob %s", a, b)
	}
	v1 := joinV1(t, s, link, "v1")
	c := v1.daemon(t)
	inbox := bob.start("inbox", "-f", "--json")
	c.await("bob", isEvent("peer_joined"))
	c.send(bob.config().str("pubkey"), "sealed", sealFields(t, v1.keys, bob.config().str("pubkey"), "sealed")...)
	if m := parse(t, inbox.line()); m.str("body") != "sealed" || m.str("sealing") != "direct" {
		t.Errorf("bob got %s", m)
	}
	c.send("*", "in the clear")
	if m := parse(t, inbox.line()); m.str("body") != "in the clear" || m.str("sealing") != "none" {
		t.Errorf("bob got %s", m)
	}
	c.send(bob.config().str("pubkey"), "not for you", sealFields(t, v1.keys, newKeys().hex, "not for you")...)
	if m := parse(t, inbox.line()); m.str("sealing") != "unopened" || m.str("body") != "" || m.str("error") == "" {
		t.Errorf("bob got %s", m)
	}
	alice.must("send", "v1", "to a v1 client")
	if got := openFrom(t, v1.keys, c.message()); got != "to a v1 client" {
		t.Errorf("the v1 client got %q", got)
	}
}

func deadInvites(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.must("create", "team")
	join := func(says, link string) {
		t.Helper()
		newPerson(t, s).fails(1, says, "join", link, "--name", "guest")
	}
	for i, format := range []string{"link", "v1"} {
		once := alice.invite("--format", format)
		newPerson(t, s).must("join", once, "--name", "first by "+format)
		join("used", once)

		revoked := parse(t, alice.must("invite", "--json", "--format", format))
		alice.must("invites", "revoke", revoked.str("inviteId"))
		join("revoked", revoked.str("link"))

		short := alice.invite("--format", format, "--expires", "1s")
		await.Until(t, "the invite has expired", func() bool { return strings.Count(alice.must("invites"), "expired") == i+1 })
		join("expired", short)
	}
	whole := alice.invite()
	bare, _, _ := strings.Cut(whole, "#")
	newPerson(t, s).fails(2, "the secret after", "join", bare)
	newPerson(t, s).fails(2, "damaged", "join", whole+"x")
}

func blockAndRemove(t *testing.T, s *server) {
	alice, bob, carol := newPerson(t, s), newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--name", "The Team", "--display-name", "alice")
	link := alice.invite("--uses", "2")
	bob.must("join", link, "--name", "bob")
	carol.must("join", link, "--name", "carol")
	bob.must("block", "carol")
	carol.fails(1, "forbidden", "send", "bob", "x")
	bob.must("unblock", "carol")
	carol.must("send", "bob", "y")
	if out := bob.must("inbox"); strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, ": y\n") {
		t.Errorf("bob's inbox: %q", out)
	}
	carol.fails(1, "", "remove", "bob", "-y")
	inbox := bob.start("inbox", "--follow")
	await.Until(t, "bob is there", func() bool { return strings.Contains(alice.must("peers"), "bob") })
	alice.must("remove", "bob", "-y")
	select {
	case <-inbox.done:
		if code := inbox.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(inbox.errs.String(), "removed") {
			t.Errorf("a removed member's inbox: exit code %d, %s", code, inbox.errs.String())
		}
	case <-time.After(patience):
		t.Error("a removed member's inbox did not end")
	}
	bob.fails(1, "removed from", "peers")
	// The mesh never accepts the key again; bob joins as a new member.
	before := bob.config()
	bob.fails(1, "--as-new-member", "join", alice.invite(), "--name", "bob")
	bob.must("join", alice.invite(), "--name", "bob", "--as-new-member")
	if after := bob.config(); after.str("pubkey") == before.str("pubkey") || after.str("memberId") == before.str("memberId") {
		t.Errorf("joined again as the removed member: %s", after)
	}
}

// changedKeys checks that the command refuses to send to a known name, or to one that looks
// like it, if the key is new, until the user trusts the key.
func changedKeys(t *testing.T, s *server) {
	alice, bob, eve, mallory := newPerson(t, s), newPerson(t, s), newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	alice.must("send", "bob", "hi")
	alice.must("verify", "bob", "--confirm")
	const cyrillic = "b\u043eb"
	mallory.fails(1, "looks like, the name of the member", "join", alice.invite(), "--name", cyrillic)
	joinV1(t, s, strings.TrimSpace(alice.must("invite", "--format", "v1")), cyrillic)
	alice.must("send", "bob", "still bob's")
	alice.fails(1, "looks like", "send", "b\u043eb", "x")
	if out := alice.must("peers", "--all", "--json"); strings.Count(out, `"verified": false`) != 1 || !strings.Contains(out, "the name looks like another's") {
		t.Errorf("peers: %s", out)
	}

	alice.must("remove", "bob", "-y")
	eve.must("join", alice.invite(), "--name", "bob")
	before, now := bob.config().str("pubkey"), eve.config().str("pubkey")
	for _, to := range []string{"bob", "BOB", now[:16]} {
		alice.fails(1, "nothing was sent", "send", to, "secret")
	}
	alice.fails(1, before[:16]+", which you have compared", "send", "bob", "secret", "--json")
	alice.fails(1, "claudemesh trust bob", "send", "bob", "secret")
	alice.must("send", now, "a whole key is that key")
	alice.fails(2, "nothing was changed", "trust", "bob")
	alice.fails(1, "nothing was sent", "send", "bob", "secret")
	out := alice.must("trust", "bob", "--yes")
	for _, word := range []string{before, now, "COMPARED"} {
		if !strings.Contains(out, word) {
			t.Errorf("trust does not say %q: %s", word, out)
		}
	}
	if strings.Count(out, "safety number") != 2 {
		t.Errorf("trust does not show exactly two safety numbers: %s", out)
	}
	alice.must("send", "bob", "for the new one")
	if out := alice.must("trust", "bob"); !strings.Contains(out, "nothing to confirm") {
		t.Errorf("trust again: %s", out)
	}
	if out := eve.must("inbox"); strings.Contains(out, "secret") || !strings.Contains(out, "for the new one") {
		t.Errorf("the new member's inbox: %s", out)
	}
}

// followThrough checks that "inbox --follow" survives a restart of the broker. It has its
// own broker.
func followThrough(t *testing.T) {
	s := startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	inbox := bob.start("inbox", "--follow")
	await.Until(t, "bob is there", func() bool { return strings.Contains(alice.must("peers"), "bob") })
	for i := range 3 {
		text := fmt.Sprint("message ", i)
		alice.must("send", "bob", text)
		if line := inbox.line(); !strings.HasSuffix(line, text) {
			t.Errorf("bob's terminal shows %q, want %q", line, text)
		}
		if i == 0 {
			s.Stop()
		} else {
			s.Kill()
		}
		s.Start()
	}
}

// TestServiceNamesTheStablePath checks that the service starts the program by its stable
// path, which a package manager updates, not by the path of the current version behind a
// link.
func TestServiceNamesTheStablePath(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	link := filepath.Join(home, "bin", "claudemesh")
	if err := os.Mkdir(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(commands.Claudemesh, link); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"called by its path": link, "found on the PATH": "claudemesh"} {
		cmd := exec.Command("/usr/bin/env", path, "daemon", "install-service", "--print")
		cmd.Env = append(homeEnv(home), "PATH="+filepath.Dir(link)+":/usr/bin:/bin", "HTTPS_PROXY=http://proxy:3128")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, line := range []string{`ExecStart="` + link + `" daemon run`, `Environment="HTTPS_PROXY=http://proxy:3128"`} {
			if !strings.Contains(string(out), "\n"+line+"\n") {
				t.Errorf("%s: no line %s in\n%s", name, line, out)
			}
		}
	}
}

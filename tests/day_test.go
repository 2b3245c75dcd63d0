package tests

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/disktest"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// day is the life of a broker that docs/operating.md describes, with the people who use it.
type day struct {
	t      *testing.T
	blocks []harness.Block // the page's commands that have not run yet
	yours  []string        // pairs of what the page calls yours, and what is there instead
	names  map[*patient]string
	wants  map[*patient][]string // what an inbox must have at the end
}

// TestOperating runs every command of docs/operating.md in the order of the page, on machines as
// type machine describes. The broker speaks plain HTTP on this machine instead of having a
// certificate, which operator.TestCertificates tries. Two members have daemons that run all the
// time: what they send before and during each chapter arrives once and in order. A third one is
// away, and gets everything at the end.
func TestOperating(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	at, err := url.Parse(pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	site, one, two, linkOne, linkTwo := freePort(t), freePort(t), freePort(t), freePort(t), freePort(t)
	address := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	d := &day{t: t, blocks: blocksOf(t, "docs/operating.md", "sh"), wants: make(map[*patient][]string), yours: []string{
		"wss://mesh.example.com", fmt.Sprintf("ws://localhost:%d", site), "https://mesh.example.com", fmt.Sprintf("http://localhost:%d", site),
		"mesh.example.com", fmt.Sprintf("http://localhost:%d", site), "10.0.0.5", at.Host, "10.0.0.10", "127.0.0.1",
		"10.0.0.1:7900", address(one), "10.0.0.1:7901", address(linkOne), "10.0.0.2:7900", address(two), "10.0.0.2:7901", address(linkTwo),
	}}
	node := func(port, link int) *machine {
		return newMachine(t, &d.yours, "BROKER_PORT="+strconv.Itoa(freePort(t)), "NODE_SITE=http://:"+strconv.Itoa(port), "CLUSTER_LISTEN="+address(link))
	}
	first, second, balancer := node(one, linkOne), node(two, linkTwo), node(freePort(t), freePort(t))
	small := os.Geteuid() == 0
	if small {
		disktest.Small(t, filepath.Join(first.dir, "var", "lib"))
		t.Cleanup(first.kill)
	}
	alice, bob, carol, dave := d.person(), d.person(), d.person(), d.person()
	d.names = map[*patient]string{alice: "alice", bob: "bob", carol: "carol"}

	d.on(first, "apt install ")
	d.says(d.on(first, "cat >>/etc/claudemesh/environment"), "READY", "yes")
	token := ""
	for _, line := range environmentFile(first.dir + "/etc/claudemesh/environment") {
		if value, ok := strings.CutPrefix(line, "CLAUDEMESH_CREATE_TOKEN="); ok {
			token = value
		}
	}
	if len(token) != 32 {
		t.Fatalf("the token is %q", token)
	}
	d.yours = append(d.yours, "<token>", token)

	d.says(d.by(alice, "export CLAUDEMESH_CREATE_TOKEN="), "You are its owner")
	link := regexp.MustCompile(`http://localhost\S+`).FindString(d.by(alice, "claudemesh invite "))
	d.yours = append(d.yours, "<link>", link)
	d.says(d.by(bob, "claudemesh join "), "Joined the mesh team as bob")
	d.says(d.by(alice, "claudemesh inbox"), "I am here")
	d.wants[alice], d.wants[bob] = []string{"I am here"}, []string{"welcome"}
	carol.must("join", link, "--name", "carol")
	dave.must("join", link, "--name", "dave")
	for _, p := range []*patient{alice, bob} {
		p.must("daemon", "up")
		p.awaitConnection(true)
	}
	d.send(alice, carol, "waits")

	d.chapter("look after it", alice, bob, func() {
		d.says(d.on(first, "claudemesh-broker health"), "QUEUE DELIVERIES", "team", "MESSAGES")
	})
	d.chapter("back up", alice, bob, func() {
		d.on(first, "claudemesh-broker backup ")
		out, err := first.run("/usr/lib/claudemesh/caddy claudemesh audit verify --sqlite /var/backups/monday.db")
		if err != nil || !strings.Contains(out, "chain intact") {
			t.Errorf("the backup: %v\n%s", err, out)
		}
	})
	d.chapter("a full disk", alice, bob, func() {
		tuesday := first.dir + "/var/lib/claudemesh/tuesday.db"
		if small {
			disktest.Fill(t, tuesday)
			sent := d.send(alice, bob, "while the disk is full")
			await.Until(t, "the broker says that the disk is full", func() bool {
				out, err := first.run("claudemesh-broker health")
				return err != nil && strings.Contains(out, "no")
			})
			defer alice.awaitStatus(sent, "delivered")
			d.says(d.on(first, "claudemesh-broker health || df"), "100%")
		} else {
			write(t, tuesday, "")
			d.on(first, "claudemesh-broker health || df")
		}
		d.on(first, "mv /var/lib/claudemesh/tuesday.db")
	})
	d.chapter("move to Postgres", alice, bob, func() {
		d.on(first, "psql postgres://postgres@")
		d.says(d.on(first, "systemctl stop claudemesh-broker\necho"), "each was compared", "Postgres")
	})
	d.chapter("add a node", alice, bob, func() {
		d.on(first, "cp /usr/share/claudemesh-broker/cluster-node.caddyfile")
		d.says(d.on(second, "apt install "), address(linkOne), address(linkTwo))
		d.on(balancer, "apt install ")
		for _, p := range []*patient{alice, bob} {
			p.awaitConnection(true)
		}
		d.says(d.on(second, "claudemesh-broker rebalance"), "balanced")
	})
	d.chapter("upgrade", alice, bob, func() {
		d.says(d.on(first, "claudemesh-broker drain "), address(linkOne), address(linkTwo))
	})
	d.chapter("a lost node", alice, bob, func() {
		// Whichever node owns the mesh, it is the first one that is lost.
		if out, err := first.run("claudemesh-broker drain --node 10.0.0.2:7901 && claudemesh-broker drain --undo --node 10.0.0.2:7901"); err != nil {
			t.Fatalf("drain: %v\n%s", err, out)
		}
		first.kill()
		alice.awaitStatus(d.send(alice, bob, "after the loss"), "delivered")
		d.says(d.on(second, "claudemesh-broker nodes"), address(linkTwo))
		d.on(first, "systemctl start ")
	})
	d.on(second, "pg_dump ")
	// The restored broker has not seen this one.
	alice.awaitStatus(d.send(alice, bob, "after the backup"), "delivered")
	stop := d.next("systemctl stop ")
	d.must(first, stop)
	d.must(second, stop)
	kept := d.send(alice, bob, "while no node runs")
	d.on(second, "DATABASE_URL=")
	start := d.next("systemctl start ")
	d.must(first, start)
	d.must(second, start)
	alice.awaitStatus(kept, "delivered")
	d.says(d.on(d.owner(first, second), "claudemesh-broker audit verify"), "restored from a backup", "carol")
	alice.awaitStatus(d.send(alice, bob, "after the restore"), "delivered")
	if _, errOut, code := alice.run("peers"); code != 0 || strings.Contains(errOut, "warning") {
		t.Errorf("after a restore that is announced: %d %s", code, errOut)
	}
	d.by(alice, "claudemesh audit accept")

	carol.must("daemon", "up")
	for p, want := range d.wants {
		var got []string
		await.Until(t, "the last message is there", func() bool {
			got = nil
			for line := range strings.Lines(p.must("inbox", "--all", "--limit", "1000", "--json")) {
				got = append(got, parse(t, line).str("body"))
			}
			return slices.Contains(got, want[len(want)-1])
		})
		if !slices.Equal(got, want) {
			t.Errorf("inbox: %q, want %q", got, want)
		}
	}

	d.by(bob, "claudemesh leave ")
	d.by(alice, "claudemesh remove carol")
	d.on(d.owner(first, second), "claudemesh-broker remove team dave")
	for _, p := range []*patient{bob, carol, dave} {
		if out, errOut, code := p.run("peers", "--mesh", "team"); code == 0 {
			t.Errorf("a member that is gone sees peers: %s %s", out, errOut)
		}
	}
	for _, member := range alice.list("members", "--json") {
		if removed := member.str("displayName") != "alice"; member["removed"] != removed {
			t.Errorf("member: %v", member)
		}
	}

	d.says(d.by(alice, "claudemesh audit export"), "intact")
	purge := d.next("apt purge ")
	for _, m := range []*machine{first, second, balancer} {
		d.must(m, purge)
		if left, err := os.ReadDir(m.dir + "/var/lib"); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	d.on(second, "psql postgres://postgres@")
	if len(d.blocks) != 0 {
		t.Errorf("the test does not run these commands of docs/operating.md: %q", d.blocks)
	}
}

// person returns somebody with a client.
func (d *day) person() *patient {
	home := d.t.TempDir()
	p := &patient{&person{t: d.t, dir: filepath.Join(home, ".claudemesh"), env: append(homeEnv(home), "GORACE=atexit_sleep_ms=0",
		"PATH="+commands.Dir+":/usr/bin:/bin")}}
	d.t.Cleanup(func() {
		if p.daemonPID() != 0 {
			p.must("daemon", "down")
		}
	})
	return p
}

// next returns the page's next block, which must begin so.
func (d *day) next(begins string) string {
	d.t.Helper()
	if len(d.blocks) == 0 || !strings.HasPrefix(d.blocks[0].Text, begins) {
		d.t.Fatalf("the next commands of docs/operating.md are %.1q, and the test expects %q", d.blocks, begins)
	}
	block := take("docs/operating.md", d.blocks[0])
	d.blocks = d.blocks[1:]
	return block
}

// on runs the next block on a machine.
func (d *day) on(m *machine, begins string) string {
	d.t.Helper()
	return d.must(m, patiently(d.next(begins)))
}

// patiently makes a block repeat the question whether the broker is healthy until it is, for two
// minutes: a busy disk may be slow to answer.
func patiently(block string) string {
	return healthLine.ReplaceAllString(block, "asked=0; until $0; do asked=$$((asked+1)); [ $$asked -lt 120 ]; sleep 1; done")
}

var healthLine = regexp.MustCompile(`(?m)^claudemesh-broker health$`)

func (d *day) must(m *machine, block string) string {
	d.t.Helper()
	out, err := m.run(block)
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", block, err, out)
	}
	return out
}

// by runs the next block as a person.
func (d *day) by(p *patient, begins string) string {
	d.t.Helper()
	block := strings.NewReplacer(d.yours...).Replace(d.next(begins))
	cmd := exec.Command("sh", "-ec", block)
	cmd.Env, cmd.Dir = p.env, filepath.Dir(p.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", block, err, out)
	}
	return string(out)
}

func (d *day) says(out string, want ...string) {
	d.t.Helper()
	for _, text := range want {
		if !strings.Contains(out, text) {
			d.t.Errorf("%q is not in:\n%s", text, out)
		}
	}
}

// send sends a message that the recipient's inbox must have at the end.
func (d *day) send(from, to *patient, text string) (id string) {
	d.t.Helper()
	d.wants[to] = append(d.wants[to], text)
	return parse(d.t, from.must("send", d.names[to], text, "--no-wait", "--json")).str("clientMessageId")
}

// chapter runs commands of the page between messages.
func (d *day) chapter(title string, alice, bob *patient, run func()) {
	d.t.Helper()
	before := d.send(alice, bob, "before: "+title)
	run()
	alice.awaitStatus(before, "delivered")
	alice.awaitStatus(d.send(alice, bob, "after: "+title), "delivered")
	bob.awaitStatus(d.send(bob, alice, "after: "+title), "delivered")
}

// owner returns the machine whose node owns the mesh.
func (d *day) owner(nodes ...*machine) (owner *machine) {
	d.t.Helper()
	await.Until(d.t, "a node owns the mesh", func() bool {
		for _, m := range nodes {
			if out, err := m.run("claudemesh-broker members team"); err == nil && strings.Contains(out, "alice") {
				owner = m
				return true
			}
		}
		return false
	})
	return owner
}

package tests

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/internal/identitytest"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// operate runs an operator's command, which finds the nodes in their database.
func operate(s *server, pg *pgtest.Server, args ...string) (out string, code int) {
	return s.RunCaddy(append(append([]string{"claudemesh"}, args...), "--database", pg.DSN())...)
}

// jsonRows reads the rows that a command has printed after Caddy's log.
func jsonRows(t *testing.T, out string, code int) (rows []frame) {
	t.Helper()
	if err := json.Unmarshal([]byte(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]), &rows); err != nil || code != 0 {
		t.Fatalf("exit %d, %v\n%s", code, err, out)
	}
	return rows
}

// nodeRow is a node as the database has it.
type nodeRow struct {
	address string
	meshes  int
}

// nodeOf returns what the database says about a server.
func nodeOf(t *testing.T, pg *pgtest.Server, s *server) (n nodeRow) {
	t.Helper()
	queryRow(t, pg, []any{&n.address, &n.meshes}, `SELECT address, (SELECT count(*) FROM claudemesh.mesh_owners WHERE node_id = id)
		FROM claudemesh.nodes WHERE pid = $1`, s.PID())
	return n
}

// TestClusterDrain drains the node that owns a mesh: the node closes its sockets with 1012, the
// other node serves the mesh with its waiting messages, and the drained node is not ready until the
// operator undoes the drain.
func TestClusterDrain(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	m := newTeam(t, a)
	bob := m.join(t, "bob")
	session := newKeys()
	bob.session(t, session).leave()
	owner, other := ownerOf(t, pg, m, a, b)
	alice := m.at(owner).owner.daemon(t)
	waits := alice.send(session.hex, "waits")
	for _, wrong := range [][]string{{"--node", "10.9.9.9:1"}, nil} { // no such node; two on this host
		if out, code := operate(a, pg, append([]string{"drain"}, wrong...)...); code == 0 || !strings.Contains(out, nodeOf(t, pg, owner).address) {
			t.Errorf("drain %v: exit %d\n%s", wrong, code, out)
		}
	}

	name := []string{"--node", nodeOf(t, pg, owner).address}
	if out, code := operate(a, pg, append([]string{"drain"}, name...)...); code != 0 || !strings.Contains(out, "It has no meshes left") {
		t.Fatalf("drain: exit %d\n%s", code, out)
	}
	if err := alice.awaitEnd(); websocket.CloseStatus(err) != wire.CloseRestart {
		t.Errorf("closed with %v", err)
	}
	notReady(t, owner, "draining")
	if status, text := owner.do(t, http.MethodGet, "/health", ""); status != 200 || !strings.Contains(text, `"up"`) {
		t.Errorf("health of a node that drains: %d %s", status, text)
	}
	if got := awaitSession(t, bob.at(owner), session).message(); got.str("messageId") != waits { // relayed from here on
		t.Errorf("got %s", got)
	}
	if now, _ := ownerOf(t, pg, m, a, b); now != other {
		t.Error("the node that drains owns the mesh")
	}
	if out, _ := operate(a, pg, "nodes"); !strings.Contains(out, "drains") {
		t.Errorf("nodes:\n%s", out)
	}
	if out, code := operate(a, pg, "drain", "--node", nodeOf(t, pg, other).address); code == 0 || !strings.Contains(out, "no other node would take the meshes") {
		t.Errorf("drain the last node: exit %d\n%s", code, out)
	}

	if out, code := operate(a, pg, append([]string{"drain", "--undo"}, name...)...); code != 0 {
		t.Fatalf("undo: exit %d\n%s", code, out)
	}
	owner.AwaitReady()
}

// TestClusterAsksClientsToReturn moves a mesh three times under a client, which comes back at once each
// time.
func TestClusterAsksClientsToReturn(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	key := identitytest.Pair(t)
	created, err := peer.HTTP{BrokerURL: a.WSURL()}.CreateMesh(t.Context(), key, "team", "Team", "alice", "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	states := make(chan peer.State, 100)
	client, err := peer.Dial(t.Context(), peer.Options{
		Mesh:    peer.Mesh{MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: "team", Member: key, BrokerURL: a.WSURL()},
		OnState: func(s peer.State) { states <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	m := &team{id: created.MeshID.String()}
	for range 3 {
		owner, _ := ownerOf(t, pg, m, a, b)
		name := nodeOf(t, pg, owner).address
		drain := func(draining bool, more ...string) {
			t.Helper()
			out, code := operate(a, pg, append([]string{"drain", "--json", "--node", name}, more...)...)
			if rows := jsonRows(t, out, code); len(rows) != 1 || rows[0].str("address") != name || rows[0]["draining"] != draining {
				t.Errorf("drain %v:\n%s", more, out)
			}
		}
		drain(true)
		if _, err := client.ListMembers(t.Context()); err != nil { // over a new connection
			t.Fatal(err)
		}
		if now, _ := ownerOf(t, pg, m, a, b); now == owner {
			t.Fatal("the mesh has not moved")
		}
		drain(false, "--undo")
	}
	client.Close()
	close(states)
	asked := 0
	for s := range states {
		if peer.AsksToReturn(s.Err) {
			if asked++; asked <= 3 && s.RetryIn > time.Second/2 { // a node may ask it more often
				t.Errorf("the client waits for %v after: %v", s.RetryIn, s.Err)
			}
		}
	}
	if asked < 3 {
		t.Errorf("the client was asked to return %d times", asked)
	}
}

// TestClusterRebalance starts a second node beside one that owns all meshes, and balances them.
func TestClusterRebalance(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	a, b := node(t, pg), node(t, pg)
	a.Start()
	var teams []*team
	for range 6 {
		teams = append(teams, newTeam(t, a))
	}
	waits := make(map[*team]*v1Client)
	for _, m := range teams {
		waits[m] = m.owner.daemon(t)
	}
	b.Start()
	out, code := operate(a, pg, "rebalance", "--json")
	moved := jsonRows(t, out, code)
	if len(moved) != 3 || nodeOf(t, pg, a).meshes != 3 || nodeOf(t, pg, b).meshes != 3 {
		t.Fatalf("moved %v; a owns %d meshes, b %d", moved, nodeOf(t, pg, a).meshes, nodeOf(t, pg, b).meshes)
	}
	to := make(map[string]string)
	for _, row := range moved {
		to[row.str("mesh")] = row.str("to")
	}
	for _, m := range teams {
		if to[m.id] == "" {
			waits[m].sync() // its sockets stay
			continue
		}
		if err := waits[m].awaitEnd(); websocket.CloseStatus(err) != wire.CloseRestart || to[m.id] != nodeOf(t, pg, b).address {
			t.Errorf("a mesh that moved to %s: closed with %v", to[m.id], err)
		}
		m.owner.daemon(t).sync() // relayed to b
	}
	if out, code := operate(a, pg, "rebalance"); code != 0 || !strings.Contains(out, "balanced") {
		t.Errorf("rebalance again: exit %d\n%s", code, out)
	}
	owners := make(map[string]int)
	for _, row := range askRows(t, b, "meshes") {
		owners[row.str("owner")]++
	}
	if owners[nodeOf(t, pg, a).address] != 3 || owners[nodeOf(t, pg, b).address] == 0 || owners[""] != 0 {
		t.Errorf("the owners of the meshes, by b: %v", owners)
	}
	// A node that does not serve a mesh says which one does.
	for _, m := range teams {
		owner, other := a, b
		if to[m.id] != "" {
			owner, other = b, a
		}
		if out, code := ask(owner, "members", m.id); code != 0 {
			t.Errorf("members, asked of the owner: exit %d\n%s", code, out)
		}
		out, code := ask(other, "members", m.id)
		if want := "the node " + nodeOf(t, pg, owner).address + " serves mesh " + m.id; code == 0 || !strings.Contains(out, want) {
			t.Errorf("members, asked of another node: exit %d, without %q\n%s", code, want, out)
		}
	}
	if out, code := ask(a, "members", strings.Repeat("a", 32)); code == 0 || !strings.Contains(out, "there is no mesh with this id or slug") {
		t.Errorf("members of no mesh: exit %d\n%s", code, out)
	}
}

// TestClusterOnThisMachine runs the script of make cluster: a member's messages go through the
// balancer, and Ctrl-C ends all programs.
func TestClusterOnThisMachine(t *testing.T) {
	t.Parallel()
	if os.Getenv("CLAUDEMESH_TEST_POSTGRES") != "" {
		t.Skip("CLAUDEMESH_TEST_POSTGRES names the Postgres to use, but scripts/cluster starts one of its own")
	}
	ports := make([]string, 7)
	for i := range ports {
		ports[i] = strconv.Itoa(freePort(t))
	}
	cmd := exec.Command(filepath.Join(commands.Repo, "scripts", "cluster"))
	cmd.Env = append(homeEnv(t.TempDir()), "CADDY="+commands.Caddy, "CLUSTER_PORTS="+strings.Join(ports, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems strings.Builder
	cmd.Stderr = &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}()
	var text strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "Ctrl-C ends everything") {
			break
		}
	}
	if !strings.Contains(text.String(), "claudemesh rebalance") {
		t.Fatalf("the script says:\n%s\n%s", text.String(), problems.String())
	}
	s := newServer(t) // never started: it stands for the balancer
	if s.Port, err = strconv.Atoi(ports[0]); err != nil {
		t.Fatal(err)
	}
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	from, to := m.owner.daemon(t), bob.daemon(t)
	from.send(bob.keys.hex, "through the balancer")
	if got := to.texts(1); got[0] != "through the balancer" {
		t.Errorf("got %q", got)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	ended = true
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("Ctrl-C: %v\n%s", err, problems.String())
	}
	to.awaitEnd()
}

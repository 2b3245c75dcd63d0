package tests

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/wire"
)

// node prepares a node of a cluster: the shipped Caddyfile with the option cluster.
func node(t *testing.T, pg *pgtest.Server, env ...string) *server {
	t.Helper()
	s := newServer(t, append(env, "DATABASE_URL="+pg.DSN())...)
	s.JoinCluster("127.0.0.1:" + strconv.Itoa(freePort(t)))
	return s
}

// startNodes starts two nodes on a database of their own.
func startNodes(t *testing.T) (pg *pgtest.Server, a, b *server) {
	t.Helper()
	pg = pgtest.Start(t)
	a, b = node(t, pg), node(t, pg)
	a.Start()
	b.Start()
	return pg, a, b
}

// queryRow reads one row of the nodes' database.
func queryRow(t *testing.T, pg *pgtest.Server, into []any, query string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, query, args...).Scan(into...); err != nil {
		t.Fatal(err)
	}
}

// at returns the same team as a client of another node.
func (m *team) at(s *server) *team {
	other := *m
	other.srv = s
	owner := *m.owner
	owner.team = &other
	other.owner = &owner
	return &other
}

// at returns the same member as a client of another node.
func (p *member) at(s *server) *member {
	other := *p
	other.team = p.team.at(s)
	return &other
}

// ownerOf returns which of two nodes serves a mesh.
func ownerOf(t *testing.T, pg *pgtest.Server, m *team, nodes ...*server) (owner, other *server) {
	t.Helper()
	var pid int
	queryRow(t, pg, []any{&pid}, `SELECT pid FROM claudemesh.nodes JOIN claudemesh.mesh_owners ON node_id = id
		WHERE replace(mesh_id::text, '-', '') = $1`, m.id)
	for i, s := range nodes {
		if s.PID() == pid {
			return s, nodes[1-i]
		}
	}
	t.Fatalf("process %d owns the mesh", pid)
	return nil, nil
}

// TestCluster has clients of one mesh on both nodes of a cluster. The owner is killed, and the
// clients come back on the other node.
func TestCluster(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	m := newTeam(t, a)
	alice := m.owner.daemon(t)
	bob := m.at(b).join(t, "bob") // the request is forwarded if b does not own the mesh
	carol := m.join(t, "carol")
	session := newKeys()
	onA, onB := carol.daemon(t), bob.at(b).session(t, session)

	owner, edge := ownerOf(t, pg, m, a, b)
	for i := range 20 {
		onA.send(session.hex, fmt.Sprintf("to b %d", i))
		onB.send(carol.keys.hex, fmt.Sprintf("to a %d", i))
	}
	if got := onB.texts(20); got[0] != "to b 0" || got[19] != "to b 19" {
		t.Errorf("the session on b got %q", got)
	}
	if got := onA.texts(20); got[0] != "to a 0" || got[19] != "to a 19" {
		t.Errorf("the daemon on a got %q", got)
	}
	if peers := alice.peers(); len(peers) != 3 {
		t.Errorf("the roster has %d rows: %v", len(peers), peers)
	}
	alice.leave()

	t.Run("requests about the mesh are answered by its owner", func(t *testing.T) {
		for _, s := range []*server{a, b} {
			if status, answer := s.post(t, "/join", m.invite.joinBody(carol.keys.hex, "carol")); status != 200 || answer["alreadyMember"] != true {
				t.Errorf("join: %d %s", status, answer)
			}
			status, text := s.do(t, http.MethodGet, "/i/nosuchcode", "", "Accept", "application/json")
			if status != http.StatusNotFound {
				t.Errorf("unknown invite: %d %s", status, text)
			}
			status, answer := s.post(t, "/hook/set-status", frame{"cwd": "/home/bob/work", "pid": 4343, "status": "idle"})
			if status != 200 || answer.str("presence_id") == "" {
				t.Errorf("hook: %d %s", status, answer)
			}
		}
	})

	t.Run("the owner is killed", func(t *testing.T) {
		waits := onA.send(session.hex, "survives")
		onB.message() // not acknowledged
		owner.Kill()
		if err := onA.awaitEnd(); err == nil {
			t.Error("a relayed socket goes on without the owner")
		}
		if err := onB.awaitEnd(); err == nil {
			t.Error("a socket of the killed node goes on")
		}
		back := awaitSession(t, bob.at(edge), session)
		if got := back.message(); got.str("messageId") != waits {
			t.Errorf("got %s", got)
		}
	})
	t.Run("it comes back", func(t *testing.T) {
		owner.Start()
		c := carol.at(owner).daemon(t)
		c.sync()
		owner.Stop()
		c.awaitEnd()
		carol.at(edge).daemon(t).sync()
	})
}

// awaitSession connects a session as soon as the cluster accepts it.
func awaitSession(t *testing.T, p *member, session keyPair) (c *v1Client) {
	t.Helper()
	await.Until(t, "the session is back", func() bool {
		c = p.team.srv.dial(t)
		c.write(session.signSessionHello(p.sessionHello(session)))
		answer := c.await("an answer", func(f frame) bool { return f.str("type") == "hello_ack" || f.str("type") == "error" })
		return answer.str("type") == "hello_ack"
	})
	return c
}

// TestClusterReload reloads the config of both nodes: sockets and links stay, and a node that starts afterwards
// gets links to them.
func TestClusterReload(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	m := newTeam(t, a)
	onA, onB := m.owner.daemon(t), m.join(t, "bob").at(b).daemon(t)
	ids := nodeIDs(t, pg)
	for _, s := range []*server{a, b} {
		if out, code := s.RunCaddy("reload", "--config", s.Config, "--adapter", "caddyfile", "--address", "unix/"+filepath.Join(s.Home, "admin.sock"), "--force"); code != 0 {
			t.Fatalf("reload: %d %s", code, out)
		}
	}
	onA.send("*", "still here")
	if got := onB.texts(1); got[0] != "still here" {
		t.Errorf("got %q", got)
	}
	for address, id := range nodeIDs(t, pg) {
		if ids[address] != id {
			t.Errorf("the node at %s is another one since the reload", address)
		}
	}
	late := node(t, pg) // a link that is made after the reload needs the listener of the owner
	late.Start()
	onLate := m.owner.at(late).session(t, newKeys())
	onLate.send("*", "from a new node")
	if got := onB.texts(1); got[0] != "from a new node" {
		t.Errorf("got %q", got)
	}
	a.Stop()
	if err := onA.awaitEnd(); websocket.CloseStatus(err) != wire.CloseRestart {
		t.Errorf("closed with %v", err)
	}
}

// nodeIDs returns the ids of the nodes by their addresses.
func nodeIDs(t *testing.T, pg *pgtest.Server) map[string]int64 {
	t.Helper()
	var addresses []string
	var ids []int64
	queryRow(t, pg, []any{&addresses, &ids}, `SELECT array_agg(address), array_agg(id) FROM claudemesh.nodes`)
	list := make(map[string]int64)
	for i, a := range addresses {
		list[a] = ids[i]
	}
	return list
}

// TestClusterClientAddress connects through a node that does not own the mesh, with headers that name another
// address. The owner learns the address that the first node sees, and believes a header only if the first node trusts
// the proxy that has sent it.
func TestClusterClientAddress(t *testing.T) {
	t.Parallel()
	const forged = "203.0.113.9"
	for name, test := range map[string]struct{ trusted, want string }{
		"no proxy":        {"", "127.0.0.1"},
		"a trusted proxy": {"trusted_proxies static 127.0.0.1/32", forged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := pgtest.Start(t)
			a, b := node(t, pg, "CREATE_MESHES=open"), node(t, pg, "CREATE_MESHES=open")
			for _, s := range []*server{a, b} {
				config, err := os.ReadFile(s.Config)
				if err == nil {
					err = os.WriteFile(s.Config, bytes.Replace(config, []byte("protocols h1\n\t}"), []byte("protocols h1\n"+test.trusted+"\n}\ndebug"), 1), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				s.Start()
			}
			m := newTeam(t, a)
			owner, edge := ownerOf(t, pg, m, a, b)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ws, _, err := websocket.Dial(ctx, edge.WSURL(), &websocket.DialOptions{HTTPHeader: http.Header{
				"X-Forwarded-For": {forged}, "X-Real-Ip": {forged}, "Forwarded": {"for=" + forged}, "Client": {forged},
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			hello := newKeys().signHello(m.owner.hello("client", forged)) // by a stranger, which the owner of the mesh refuses
			if err := ws.Write(ctx, websocket.MessageText, []byte(toJSON(t, hello))); err != nil {
				t.Fatal(err)
			}
			var line string
			await.Until(t, "the owner logs the end of the relayed socket", func() bool {
				for text := range strings.Lines(owner.Log()) {
					if strings.Contains(text, `"connection ended"`) && !strings.Contains(text, `"remote"`) {
						line = text
					}
				}
				return line != ""
			})
			if !strings.Contains(line, fmt.Sprintf("%q:%q", "client", test.want)) {
				t.Errorf("want the client %s: %s", test.want, line)
			}
		})
	}
}

// TestClusterIsRefused checks the errors of a broker that can't be a node.
func TestClusterIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.JoinCluster(":7901", "advertise 10.0.0.1")
	if out, code := s.RunCaddy("validate", "--config", s.Config, "--adapter", "caddyfile"); code == 0 || !strings.Contains(out, "add `storage postgres") {
		t.Errorf("cluster with SQLite: %d %s", code, out)
	}
	if out, code := s.RunCaddy("run", "--config", s.Config, "--adapter", "caddyfile"); code == 0 || !strings.Contains(out, "add `storage postgres") {
		t.Errorf("run a cluster with SQLite: %d %s", code, out)
	}
	if out, code := ask(s, "nodes"); code == 0 || !strings.Contains(out, "name a Postgres database") {
		t.Errorf("nodes of a cluster with SQLite: %d %s", code, out)
	}
	pg := newServer(t, "DATABASE_URL=postgres://nobody@127.0.0.1:1/none")
	pg.JoinCluster(":7901")
	if out, code := pg.RunCaddy("validate", "--config", pg.Config, "--adapter", "caddyfile"); code == 0 || !strings.Contains(out, "add `advertise") {
		t.Errorf("cluster without an address: %d %s", code, out)
	}
}

// TestClusterFrozenOwner freezes the owner of a mesh: the other node notices, cuts the sockets that
// it relays, and takes the mesh.
func TestClusterFrozenOwner(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	m := newTeam(t, a)
	bob := m.join(t, "bob")
	c := m.owner.daemon(t)
	owner, edge := ownerOf(t, pg, m, a, b)
	session := newKeys()
	relayed := bob.at(edge).session(t, session)
	relayed.sync()
	c.leave()
	if err := syscall.Kill(owner.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	relayed.awaitEnd()
	awaitSession(t, bob.at(edge), session).sync()
	if err := syscall.Kill(owner.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	owner.AwaitReady()
	awaitSession(t, bob.at(owner), session).sync()
}

// TestClusterRestored restores an older state of the database under running nodes, which docs/backup.md warns
// of: the nodes say so in their logs, forget what they remember of the newer state, and go on as other nodes.
func TestClusterRestored(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	m := newTeam(t, a)
	bob, sender, session := m.join(t, "bob"), newKeys(), newKeys()
	alice, reader := m.owner.session(t, sender), bob.at(b).session(t, session)
	alice.send(session.hex, "before the backup")
	reader.texts(1)
	o := newOperator(t, a)
	o.run("pg_dump ")
	for i := range 10 {
		alice.send(session.hex, fmt.Sprint("after the backup ", i))
	}
	reader.texts(10)
	renewed := renewals(t, pg)
	await.Until(t, "each node renews its lease", func() bool {
		now := renewals(t, pg)
		for id, n := range renewed {
			if again, here := now[id]; here && again <= n { // a node that has lost its lease is another one now
				return false
			}
		}
		return true
	})
	// The nodes may be back before the last command, which they refuse.
	if out, err := o.try("psql "); err != nil && !strings.Contains(out, "another broker is using this database") {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	alice.awaitEnd()
	reader.awaitEnd()
	await.Until(t, "a node says that the database was restored", func() bool {
		return strings.Contains(a.Log()+b.Log(), "it was restored from a backup")
	})
	a.AwaitReady()
	b.AwaitReady()
	awaitNodes(t, a, pg, func(row frame) bool { // those of the backup are gone
		id, err := strconv.ParseInt(row.str("id"), 10, 64)
		_, old := renewed[id]
		return err == nil && !old && row["live"] == true
	})
	back := awaitSession(t, bob.at(b), session)
	awaitSession(t, m.owner, sender).send(session.hex, "after the restore")
	await.Until(t, "the message is there", func() bool { return back.texts(1)[0] == "after the restore" })
	if out, code := operate(a, pg, "audit", "verify"); code != 0 {
		t.Errorf("audit verify: exit %d\n%s", code, out)
	}
}

// renewals returns how often each node has renewed its lease.
func renewals(t *testing.T, pg *pgtest.Server) map[int64]int64 {
	t.Helper()
	var ids, times []int64
	queryRow(t, pg, []any{&ids, &times}, `SELECT array_agg(id), array_agg(renewals) FROM claudemesh.nodes`)
	n := make(map[int64]int64)
	for i, id := range ids {
		n[id] = times[i]
	}
	return n
}

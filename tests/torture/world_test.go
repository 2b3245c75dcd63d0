package torture

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

const (
	// patience is the time limit for anything that must happen by itself. A client's pauses
	// between attempts grow to half a minute, and on a starved machine several attempts fail.
	patience = 5 * time.Minute
	// someLoad is the number of deliveries between two faults.
	someLoad = 60
	// longRun is the duration of a scenario in a long run.
	longRun = 45 * time.Second
	// faultsAtLeast is the minimum number of faults of a scenario, however slow the machine.
	faultsAtLeast = 2
)

// world is the environment of a scenario: a broker, a mesh and its peers.
type world struct {
	t       *testing.T
	name    string
	broker  *harness.Broker
	env     []string       // its settings
	caddy   string         // the broker's program, which install replaces
	pg      *pgtest.Server // nil unless the scenario has its own
	standby *pgtest.Server // nil unless pg is replicated to it
	dsn     string         // "" on SQLite
	url     string         // where peers connect
	ledger  *ledger

	ctx    context.Context // ends with the scenario
	end    context.CancelFunc
	calm   chan struct{} // closed when the parties must stop sending
	actors sync.WaitGroup

	owner   peer.Mesh
	link    peer.Link
	parties []*party
	raw     []*rawPeer
	pace    time.Duration // the time between two messages of a party
	shouts  bool          // whether the parties send broadcasts
	size    int           // minimum length of a text, in bytes
}

// newWorld prepares a scenario's broker. Call serve to start it; before that, the scenario may
// change the settings.
func newWorld(t *testing.T, s scenario) *world {
	t.Helper()
	var pg *pgtest.Server
	dsn := ""
	switch s.database {
	case onPostgres:
		dsn = pgtest.DSN(t)
	case ownServer:
		pg = pgtest.Start(t, pgtest.Durable())
		dsn = pg.DSN()
	}
	return newWorldOn(t, s.name, pg, dsn)
}

// newWorldOn is newWorld with a database: pg is nil if it is not the scenario's own, and dsn is empty on
// SQLite.
func newWorldOn(t *testing.T, name string, pg *pgtest.Server, dsn string) *world {
	t.Helper()
	w := &world{t: t, name: name, pg: pg, dsn: dsn, pace: 40 * time.Millisecond, shouts: true}
	if *runFor > 0 {
		w.pace = 15 * time.Millisecond
	}
	w.ctx, w.end = context.WithCancel(context.Background())
	env := []string{
		"SEND_RATE_PER_MIN=1000000000", "SEND_BURST=1000000000", "WORK_PER_MIN=1000000000", "WORK_BURST=1000000000", "NEW_SESSIONS_PER_HOUR=1000000000",
		"DELIVERY_LEASE_SECONDS=5", "PRESENCE_LEASE_SECONDS=3600",
		"PING_INTERVAL_SECONDS=2", "PONG_TIMEOUT_SECONDS=10",
	}
	if w.dsn != "" {
		env = append(env, "DATABASE_URL="+w.dsn)
	}
	own := commands
	own.Dir = harness.ShortTempDir(t)
	own.Caddy = filepath.Join(own.Dir, "caddy")
	w.caddy = own.Caddy
	w.install(commands.Caddy)
	w.env = env
	w.broker = harness.NewBroker(t, own, env...)
	w.url = w.broker.WSURL()
	w.open()
	return w
}

// another prepares a further mesh of the same broker, with peers and a ledger of its own.
func (w *world) another(name string) *world {
	m := &world{
		t: w.t, name: name, broker: w.broker, env: w.env, caddy: w.caddy, pg: w.pg, standby: w.standby, dsn: w.dsn, url: w.url,
		ctx: w.ctx, end: w.end, pace: w.pace, shouts: w.shouts, size: w.size,
	}
	m.open()
	return m
}

// open opens the ledger, whose sums go to the results.
func (w *world) open() {
	w.ledger, w.calm = newLedger(), make(chan struct{})
	w.t.Cleanup(func() { // even if the scenario fails
		w.end()
		w.actors.Wait()
		sum, _ := w.ledger.total()
		results.add(w.name, sum)
	})
}

// serve starts the broker and creates a mesh.
func (w *world) serve() {
	w.t.Helper()
	w.broker.Start()
	w.found()
}

// found creates a mesh for the next peers.
func (w *world) found() {
	w.t.Helper()
	key, err := identity.Generate()
	w.check(err)
	at := peer.HTTP{BrokerURL: w.broker.WSURL()}
	created, err := at.CreateMesh(w.ctx, key, "team", "The Team", "owner", "", time.Now())
	w.check(err)
	w.owner = peer.Mesh{
		MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: "team", Name: "The Team",
		Member: key, BrokerURL: w.broker.WSURL(), JoinedAt: time.Now(), Key: envelope.NewMeshKey(),
	}
	link, terms, err := peer.NewLinkInvite(&w.owner, key.Public(), peer.InviteTerms{Role: "member", Uses: 1000, ExpiresAt: time.Now().Add(24 * time.Hour)})
	w.check(err)
	client, err := peer.Dial(w.ctx, peer.Options{Mesh: w.owner, About: peer.About{Channel: "torture"}})
	w.check(err)
	defer client.Close()
	_, err = client.InviteCreate(w.ctx, terms)
	w.check(err)
	w.link = link
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// join adds a member to the mesh. Its clients connect like the world's peers.
func (w *world) join(dir peer.Dir, name string) peer.Mesh {
	w.t.Helper()
	link := w.link
	link.BrokerURL = w.url
	joined, err := peer.Join(w.ctx, dir, link, name, nil)
	w.check(err)
	return joined.Mesh
}

// populate adds the usual peers: sessions with raw clients, one session with a client of
// package peer, and one client that uses its member key. load makes them send.
func (w *world) populate() {
	w.t.Helper()
	for range 3 {
		w.addRaw()
	}
	w.addClient(true)
	w.addClient(false)
}

// load makes every party send to all others.
func (w *world) load() {
	for _, p := range w.parties {
		w.actors.Go(p.talk)
	}
}

// progress waits until someLoad further deliveries have arrived.
func (w *world) progress() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := w.ledger.progress(ctx, someLoad); err != nil {
		w.t.Fatalf("no more deliveries arrive: %s", w.account())
	}
}

// repeat injects a fault under load, a few times or, in a long run, for longRun.
func (w *world) repeat(inject func(n int)) {
	w.t.Helper()
	end := time.Now()
	if *runFor > 0 {
		end = end.Add(longRun)
	}
	for n := 0; n < faultsAtLeast || time.Now().Before(end); n++ {
		w.progress()
		w.ledger.fault()
		inject(n)
	}
	w.progress()
}

// repeatWithoutOne is repeat, but one of the peers takes nothing until the fault is over, so
// that its messages are only in the storage.
func (w *world) repeatWithoutOne(inject func(n int)) {
	w.t.Helper()
	w.repeat(func(n int) { w.withoutOne(n, func() { inject(n) }) })
}

// withoutOne injects a fault while one of the peers takes nothing.
func (w *world) withoutOne(n int, inject func()) {
	w.t.Helper()
	absent := w.raw[n%len(w.raw)]
	w.deafen(absent, true)
	w.progress()
	inject()
	w.deafen(absent, false)
}

// killBroker kills the broker with SIGKILL.
func (w *world) killBroker() {
	w.ledger.mayForget()
	w.broker.Kill()
}

// hold keeps a fault up for a short time, or for a long one in a long run.
func (w *world) hold(short, long time.Duration) {
	w.t.Helper()
	if *runFor > 0 {
		short = long
	}
	select {
	case <-time.After(short):
	case <-w.ctx.Done():
		w.t.Fatal("the scenario has ended")
	}
}

// awaitReadiness waits until the broker reports that it is ready or, if ready is false, that it
// isn't.
func (w *world) awaitReadiness(ready bool) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("the broker's readiness is %v", ready), func() bool {
		status, _ := w.broker.TryGet("/health/ready")
		return ready == (status == 200)
	})
}

// eventually waits until ok returns true, longer than await.Until.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("timed out waiting until %s", what)
		}
	}
}

// close stops the load, waits for everything in flight, and checks the ledger.
func (w *world) close() {
	w.t.Helper()
	close(w.calm)
	unbalanced := !w.settles()
	sum, wrong := w.ledger.total()
	if *runFor > 0 {
		fmt.Printf("%8s  %s: %d faults, %d sent, %d lost\n", time.Since(began).Round(time.Second), w.name, sum.faults, sum.sent, sum.lost)
	}
	if unbalanced || len(wrong) > 0 {
		w.t.Errorf("the ledger does not balance: %s", w.account())
	}
	if sum.faults == 0 || sum.received == 0 {
		w.t.Errorf("nothing was tested: %+v", sum)
	}
}

// settles waits until the ledger balances. It returns false if no message makes progress within
// patience.
func (w *world) settles() bool {
	for before := 0; ; {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		err := w.ledger.balanced(ctx)
		cancel()
		sum, _ := w.ledger.total()
		if now := sum.acked + sum.received; err != nil && now > before {
			before = now
			continue
		}
		return err == nil
	}
}

// account describes the state of the ledger.
func (w *world) account() string {
	sum, wrong := w.ledger.total()
	more := ""
	if n := len(wrong) - 20; n > 0 {
		wrong, more = wrong[:20], fmt.Sprintf("\nand %d more", n)
	}
	return fmt.Sprintf("%+v\n%s%s", sum, strings.Join(wrong, "\n"), more)
}

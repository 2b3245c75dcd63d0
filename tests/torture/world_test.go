package torture

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

const (
	// patience is how long anything may take that must happen by itself. The pauses
	// between attempts of a client grow to half a minute.
	patience = 2 * time.Minute
	// someLoad is how many deliveries come between two faults.
	someLoad = 60
	// longRun is how long a scenario goes on in a long run.
	longRun = 45 * time.Second
	// faultsAtLeast is how many faults a scenario has, however slow the machine.
	faultsAtLeast = 2
)

// world is what a scenario runs in: a broker, a mesh and the peers in it.
type world struct {
	t      *testing.T
	name   string
	broker *harness.Broker
	env    []string       // its settings
	caddy  string         // its program, as install has it
	pg     *pgtest.Server // nil unless the scenario has its own
	dsn    string         // "" on SQLite
	url    string         // where peers connect
	ledger *ledger

	ctx    context.Context // ends with the scenario
	end    context.CancelFunc
	calm   chan struct{} // closed when nobody is to send anything new
	actors sync.WaitGroup

	owner   peer.Mesh
	link    peer.Link
	parties []*party
	raw     []*rawPeer
	pace    time.Duration // between two messages of a party
	shouts  bool          // there are broadcasts
	size    int           // of a text, in bytes, if it is more than its id
}

// newWorld prepares a scenario's broker. It is started by serve, so that scenarios can
// have their say.
func newWorld(t *testing.T, s scenario) *world {
	t.Helper()
	w := &world{t: t, name: s.name, ledger: newLedger(), calm: make(chan struct{}), pace: 40 * time.Millisecond, shouts: true}
	if *runFor > 0 {
		w.pace = 15 * time.Millisecond
	}
	w.ctx, w.end = context.WithCancel(context.Background())
	env := []string{
		"SEND_RATE_PER_MIN=1000000000", "SEND_BURST=1000000000", "WORK_PER_MIN=1000000000", "WORK_BURST=1000000000", "NEW_SESSIONS_PER_HOUR=1000000000",
		"DELIVERY_LEASE_SECONDS=5", "PRESENCE_LEASE_SECONDS=3600",
		"PING_INTERVAL_SECONDS=2", "PONG_TIMEOUT_SECONDS=10",
	}
	switch s.database {
	case onPostgres:
		w.dsn = pgtest.DSN(t)
	case ownServer:
		w.pg = pgtest.Start(t, pgtest.Durable())
		w.dsn = w.pg.DSN()
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
	t.Cleanup(func() { // whether the scenario came to its end or not
		w.end()
		w.actors.Wait()
		sum, _ := w.ledger.total()
		results.add(w.name, sum)
	})
	return w
}

// serve starts the broker and makes a mesh.
func (w *world) serve() {
	w.t.Helper()
	w.broker.Start()
	w.found()
}

// found makes a mesh, which is where peers come into from now on.
func (w *world) found() {
	w.t.Helper()
	key, err := identity.Generate()
	w.check(err)
	at := peer.HTTP{BrokerURL: w.broker.WSURL()}
	created, err := at.CreateMesh(w.ctx, key, "team", "The Team", "owner", "", time.Now())
	w.check(err)
	w.owner = peer.Mesh{
		MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: "team", Name: "The Team",
		Member: key, BrokerURL: w.broker.WSURL(), JoinedAt: time.Now(), Key: newMeshKey(),
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

// join makes a new member whose clients connect where peers of this world do.
func (w *world) join(dir peer.Dir, name string) peer.Mesh {
	w.t.Helper()
	link := w.link
	link.BrokerURL = w.url
	joined, err := peer.Join(w.ctx, dir, link, name, nil)
	w.check(err)
	return joined.Mesh
}

// populate brings in the usual crowd: raw clients and one of package peer, each a
// session, and one that is known by its member key. With load they begin to send.
func (w *world) populate() {
	w.t.Helper()
	for range 3 {
		w.addRaw()
	}
	w.addClient(true)
	w.addClient(false)
}

// load has everybody send to everybody else.
func (w *world) load() {
	for _, p := range w.parties {
		w.actors.Go(p.talk)
	}
}

// progress waits until a number of deliveries more have arrived.
func (w *world) progress() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := w.ledger.progress(ctx, someLoad); err != nil {
		w.t.Fatalf("nothing moves any more: %s", w.account())
	}
}

// repeat injects a fault under load, a few times or for as long as a long run's scenario.
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

// repeatWithoutOne is repeat while one of the peers takes nothing until the fault is
// over, so that what is for it is nowhere but in the storage.
func (w *world) repeatWithoutOne(inject func(n int)) {
	w.t.Helper()
	w.repeat(func(n int) {
		absent := w.raw[n%len(w.raw)]
		w.deafen(absent, true)
		w.progress()
		inject(n)
		w.deafen(absent, false)
	})
}

// killBroker ends the broker with no chance to do anything more.
func (w *world) killBroker() {
	w.ledger.mayForget()
	w.broker.Kill()
}

// hold is how long a fault is to last, which differs between short and long runs.
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

// awaitReadiness waits until the broker says that it is ready, or that it is not.
func (w *world) awaitReadiness(ready bool) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("the broker's readiness is %v", ready), func() bool {
		status, _ := w.broker.TryGet("/health/ready")
		return ready == (status == 200)
	})
}

// eventually waits until ok returns true, for longer than the harness's.
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

// close ends the load, waits for everything under way, and looks at the account.
func (w *world) close() {
	w.t.Helper()
	close(w.calm)
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	unbalanced := w.ledger.balanced(ctx) != nil
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

// account says how the ledger stands.
func (w *world) account() string {
	sum, wrong := w.ledger.total()
	more := ""
	if n := len(wrong) - 20; n > 0 {
		wrong, more = wrong[:20], fmt.Sprintf("\nand %d more", n)
	}
	return fmt.Sprintf("%+v\n%s%s", sum, strings.Join(wrong, "\n"), more)
}

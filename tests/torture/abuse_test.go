package torture

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// abuse is one way in which a member attacks a broker with the default limits.
type abuse struct {
	name string
	env  []string
	do   func(v *villain)
	// limited says that the broker must refuse the villain something sooner or later.
	limited bool
}

var abuses = []abuse{
	{name: "nothing", do: func(*villain) {}},
	{name: "rosters", do: (*villain).askAndNotRead},
	{name: "rosters-read", do: (*villain).askAndRead, limited: true},
	{name: "never-acknowledged", env: []string{"DELIVERY_LEASE_SECONDS=2"}, do: (*villain).neverAcknowledge},
	{name: "tiny-broadcasts", do: (*villain).shoutTiny},
	{name: "new-keys", do: (*villain).comeUnderNewKeys},
	{name: "hellos", do: (*villain).sayHello},
	{name: "profiles", do: (*villain).changeProfile},
	{name: "junk", do: (*villain).writeJunk},
	{name: "slow-bodies", do: (*villain).postSlowly},
}

// TestAbuse runs each abuse and prints its effect on an innocent pair in the same mesh and on
// one in another mesh: how long their messages take. All of these messages must arrive, and
// the broker must refuse none. Their latencies can't fail the test, because they depend on the
// machine.
func TestAbuse(t *testing.T) {
	for _, a := range abuses {
		if a.chosen() {
			t.Run(a.name, func(t *testing.T) { abused = append(abused, runAbuse(t, a)) })
		}
	}
}

// chosen reports whether the -fault flag selects the abuse.
func (a *abuse) chosen() bool {
	return *onlyFault == "" || *onlyFault == "abuse" || *onlyFault == a.name
}

// abuseRow is the result of an abuse.
type abuseRow struct {
	name        string
	here, there []time.Duration // the latencies of the pairs' messages, ascending
	load        float64         // how many processors the broker used
	refused     int64           // the villain's refused frames and hellos
}

// abused holds the results of TestAbuse, which TestMain prints.
var abused []abuseRow

func printAbuse(to io.Writer, rows []abuseRow) error {
	if len(rows) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nabuse\tmessages\tsame mesh: p50\tp99\tmax\tother mesh: p50\tp99\tmax\tprocessors\trefused\t\n")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%.2f\t%d\t\n", r.name, len(r.here)+len(r.there), quantiles(r.here), quantiles(r.there), r.load, r.refused)
	}
	return w.Flush()
}

// cpuTime returns the processor time of a process, 0 if the system doesn't tell.
func cpuTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * (time.Second / 100) // in ticks of the kernel
}

func quantiles(sorted []time.Duration) string {
	if len(sorted) == 0 {
		return "\t\t"
	}
	at := func(q float64) time.Duration {
		return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%s\t%s\t%s", at(0.5), at(0.99), sorted[len(sorted)-1].Round(100*time.Microsecond))
}

// crowdSize returns the number of sessions that only receive, and abuseFor the duration of an
// abuse.
func crowdSize() int {
	if *runFor > 0 {
		return 1000
	}
	return 100
}

func abuseFor() time.Duration {
	if *runFor > 0 {
		return 20 * time.Second
	}
	return 2 * time.Second
}

func runAbuse(t *testing.T, a abuse) abuseRow {
	w := &world{t: t, name: a.name, ledger: newLedger(), calm: make(chan struct{})}
	w.ctx, w.end = context.WithCancel(context.Background())
	w.broker = harness.NewBroker(t, commands, a.env...)
	w.url = w.broker.WSURL()
	w.broker.Start()
	t.Cleanup(func() {
		w.end()
		w.actors.Wait()
	})
	elsewhere := w.newMesh()
	w.newMesh()
	w.gather(crowdSize())
	here, there := w.newPair("here"), elsewhere.newPair("there")

	v := &villain{world: w, member: w.newRaw(w.stranger("villain"))}
	v.ctx, v.stop = context.WithCancel(w.ctx)
	began, worked := time.Now(), cpuTime(w.broker.PID())
	a.do(v)
	var pairs sync.WaitGroup
	for _, p := range []*pair{here, there} {
		pairs.Go(func() { p.talk(abuseFor()) })
	}
	pairs.Wait()
	load := (cpuTime(w.broker.PID()) - worked).Seconds() / time.Since(began).Seconds()
	v.stop()
	v.actors.Wait()
	if a.limited && v.refused.Load() == 0 && *runFor > 0 {
		t.Error("the broker never refused the villain anything")
	}
	return abuseRow{a.name, here.latencies(), there.latencies(), load, v.refused.Load()}
}

// newMesh creates a mesh for the next peers of w and returns a copy of w in that mesh.
func (w *world) newMesh() *world {
	w.t.Helper()
	w.found()
	return &world{t: w.t, ctx: w.ctx, url: w.url, broker: w.broker, owner: w.owner, link: w.link, ledger: w.ledger}
}

// pair is two innocent peers that exchange messages.
type pair struct {
	w        *world
	from, to *rawPeer
	out, in  *websocket.Conn

	mu      sync.Mutex
	sent    map[string]time.Time
	took    map[string]time.Duration
	arrived chan struct{} // gets a token when another message arrives
}

func (w *world) newPair(name string) *pair {
	w.t.Helper()
	p := &pair{
		w: w, from: w.newRaw(w.stranger(name + "-from")), to: w.newRaw(w.stranger(name + "-to")),
		sent: map[string]time.Time{}, took: map[string]time.Duration{}, arrived: make(chan struct{}, 1),
	}
	var err error
	p.in, err = p.to.connectPatiently(w.ctx)
	w.check(err)
	p.out, err = p.from.connectPatiently(w.ctx)
	w.check(err)
	return p
}

// talk sends ten messages a second, the rate that a member may use, and waits until all have
// arrived.
func (p *pair) talk(long time.Duration) {
	var readers sync.WaitGroup
	defer readers.Wait()
	defer p.in.CloseNow()
	defer p.out.CloseNow()
	readers.Go(p.takeAcks)
	readers.Go(p.takeMessages)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	count := int(long / (100 * time.Millisecond))
	for i := range count {
		<-tick.C
		id := fmt.Sprintf("%s-%d", p.from.name, i)
		frame, err := p.from.frame(draft{id: id, target: p.to.key, size: 200})
		p.w.check(err)
		p.mu.Lock()
		p.sent[id] = time.Now()
		p.mu.Unlock()
		if err := p.out.Write(p.w.ctx, websocket.MessageText, []byte(frame)); err != nil {
			p.w.t.Errorf("%s can't send: %v", p.from.name, err)
			return
		}
	}
	deadline := time.After(patience)
	for len(p.latencies()) < count {
		select {
		case <-p.arrived:
		case <-deadline:
			p.w.t.Errorf("of %d messages from %s, %d have arrived", count, p.from.name, len(p.latencies()))
			return
		}
	}
}

// takeAcks reads the sender's acks and errors.
func (p *pair) takeAcks() {
	for {
		f, err := read(p.w.ctx, p.out)
		switch {
		case err != nil:
			return
		case f.Type == "error", f.Type == "ack" && !f.Queued:
			p.w.t.Errorf("%s was refused: %s%s %s", p.from.name, f.Error, f.Code, f.Message)
		}
	}
}

func (p *pair) takeMessages() {
	for {
		f, err := read(p.w.ctx, p.in)
		if err != nil {
			return
		}
		if f.Type != "push" || !strings.HasPrefix(f.ClientID, p.from.name) {
			continue
		}
		p.mu.Lock()
		if _, again := p.took[f.ClientID]; !again {
			p.took[f.ClientID] = time.Since(p.sent[f.ClientID])
		}
		p.mu.Unlock()
		kick(p.arrived)
		if err := write(p.w.ctx, p.in, object{"type": "client_ack", "clientMessageId": f.ClientID, "brokerMessageId": f.MessageID}); err != nil {
			return
		}
	}
}

// latencies returns the latencies of the messages, ascending.
func (p *pair) latencies() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]time.Duration, 0, len(p.took))
	for _, d := range p.took {
		list = append(list, d)
	}
	slices.Sort(list)
	return list
}

// villain is the attacking member. It attacks until ctx ends.
type villain struct {
	world   *world
	member  *rawPeer
	ctx     context.Context
	stop    context.CancelFunc
	actors  sync.WaitGroup
	refused atomic.Int64
}

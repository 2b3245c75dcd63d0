package tests

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// benchBody is the length of a message in the benchmarks, in bytes before base64.
const benchBody = 768 // 1,024 in base64

// BenchmarkBroker sends messages through the real binaries, with storage that syncs to
// disk. It runs with 1 and with 50 pairs of peers, each with 1 message in flight, for the
// latency, and with 32, for the throughput. BenchmarkStorage and BenchmarkEcho measure the
// upper bounds in the same run.
func BenchmarkBroker(b *testing.B) {
	for _, db := range []string{"sqlite", "postgres"} {
		b.Run(db, func(b *testing.B) {
			s := startBenchServer(b, db)
			for _, pairs := range []int{1, 50} {
				for _, window := range []int{1, 32} {
					b.Run(fmt.Sprintf("pairs=%d/window=%d", pairs, window), func(b *testing.B) {
						benchPairs(b, s, pairs, window)
					})
				}
			}
		})
	}
}

func startBenchServer(b *testing.B, db string) *server {
	b.Helper()
	env := []string{"SEND_RATE_PER_MIN=1000000000", "SEND_BURST=1000000000", "WORK_PER_MIN=1000000000", "WORK_BURST=1000000000", "NEW_SESSIONS_PER_HOUR=1000000000"}
	if db == "postgres" {
		env = append(env, "DATABASE_URL="+pgtest.Start(b, pgtest.Durable()).DSN())
	}
	return startServer(b, env...)
}

// benchPairs sends b.N messages in total, evenly from all pairs.
func benchPairs(b *testing.B, s *server, pairs, window int) {
	m := newTeam(b, s)
	list := make([]*benchPair, pairs)
	for i := range list {
		list[i] = newBenchPair(b, m, window, b.N/pairs+min(1, max(0, b.N%pairs-i)))
	}
	b.ResetTimer()
	var all sync.WaitGroup
	for _, p := range list {
		all.Go(p.receive)
		all.Go(p.readAcks)
		all.Go(p.send)
	}
	all.Wait()
	b.StopTimer()
	var pushed, acked []time.Duration
	for _, p := range list {
		if p.err != nil {
			b.Fatal(p.err)
		}
		for i := range p.sent {
			pushed = append(pushed, p.pushed[i].Sub(p.sent[i]))
			acked = append(acked, p.acked[i].Sub(p.sent[i]))
		}
		p.from.drop()
		p.to.drop()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	reportLatency(b, pushed, "push")
	reportLatency(b, acked, "ack")
	b.ReportMetric(0, "ns/op") // messages/s says the same
}

func reportLatency(b *testing.B, d []time.Duration, what string) {
	slices.Sort(d)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(d[(len(d)-1)*p/100].Microseconds()), fmt.Sprintf("p%d-%s-µs", p, what))
	}
}

// benchPair is a sender and a recipient. Every message must arrive and get its ack.
type benchPair struct {
	from, to            *rawClient
	target              string
	free                chan struct{} // a token per message that may be in flight
	sent, pushed, acked []time.Time

	once sync.Once
	err  error
}

func newBenchPair(b *testing.B, m *team, window, n int) *benchPair {
	sender, recipient, key := m.join(b, "sender"), m.join(b, "recipient"), newKeys()
	p := &benchPair{
		from: newRawClient(b, sender.keys.signHello(sender.hello()), m.srv), target: key.hex,
		to:   newRawClient(b, key.signSessionHello(recipient.sessionHello(key)), m.srv),
		free: make(chan struct{}, window), sent: make([]time.Time, n), pushed: make([]time.Time, n), acked: make([]time.Time, n),
	}
	for range window {
		p.free <- struct{}{}
	}
	return p
}

// fail stops a pair at its first error.
func (p *benchPair) fail(err error) {
	p.once.Do(func() {
		p.err = err
		p.from.drop()
		p.to.drop()
	})
}

func (p *benchPair) send() {
	body := strings.Repeat("A", benchBody/3*4)
	nonce := strings.Repeat("A", 32)
	for i := range p.sent {
		select {
		case <-p.free:
		case <-p.from.gone:
			return
		}
		p.sent[i] = time.Now()
		err := p.from.write(`{"type":"send","id":"%08d","client_message_id":"%08d","targetSpec":"%s","priority":"next","nonce":"%s","ciphertext":"%s"}`,
			i, i, p.target, nonce, body)
		if err != nil {
			p.fail(err)
			return
		}
	}
}

// readAcks records when acks arrive. A message is done when its ack arrives.
func (p *benchPair) readAcks() {
	for i := 0; i < len(p.acked); {
		data, err := p.from.read()
		if err != nil {
			p.fail(err)
			return
		}
		if !strings.HasPrefix(data, `{"type":"ack"`) {
			continue
		}
		if !strings.Contains(data, fmt.Sprintf(`"id":"%08d"`, i)) || !strings.Contains(data, `"queued":true`) {
			p.fail(fmt.Errorf("ack %d is %s", i, data))
			return
		}
		p.acked[i] = time.Now()
		p.free <- struct{}{}
		i++
	}
}

// receive records when pushes arrive and acknowledges them.
func (p *benchPair) receive() {
	for i := 0; i < len(p.pushed); {
		data, err := p.to.read()
		if err != nil {
			p.fail(err)
			return
		}
		if !strings.HasPrefix(data, `{"type":"push","messageId"`) {
			continue
		}
		_, rest, _ := strings.Cut(data, `"client_message_id":"`)
		id, _, _ := strings.Cut(rest, `"`)
		if id != fmt.Sprintf("%08d", i) {
			p.fail(fmt.Errorf("push %d is %s", i, data))
			return
		}
		p.pushed[i] = time.Now()
		if err := p.to.write(`{"type":"client_ack","clientMessageId":"%s"}`, id); err != nil {
			p.fail(err)
			return
		}
		i++
	}
}

// rawClient is a cheap client, so that the benchmark measures the broker.
type rawClient struct {
	ws   *websocket.Conn
	gone chan struct{}
	once sync.Once
}

func newRawClient(b *testing.B, hello frame, s *server) *rawClient {
	b.Helper()
	c := dialRaw(b, s.WSURL())
	if err := c.write("%s", hello); err != nil {
		b.Fatal(err)
	}
	if ack, err := c.read(); err != nil || !strings.Contains(ack, `"hello_ack"`) {
		b.Fatalf("hello: %s %v", ack, err)
	}
	return c
}

func dialRaw(b *testing.B, url string) *rawClient {
	b.Helper()
	ws, _, err := websocket.Dial(b.Context(), url, nil)
	if err != nil {
		b.Fatal(err)
	}
	c := &rawClient{ws: ws, gone: make(chan struct{})}
	b.Cleanup(c.drop)
	return c
}

func (c *rawClient) write(format string, args ...any) error {
	return c.ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...))
}

func (c *rawClient) read() (string, error) {
	_, data, err := c.ws.Read(context.Background())
	return string(data), err
}

func (c *rawClient) drop() {
	c.once.Do(func() {
		close(c.gone)
		_ = c.ws.CloseNow()
	})
}

// BenchmarkStorage measures the throughput of the storage alone: commits of 256 messages
// with one recipient each, and their audit entries.
func BenchmarkStorage(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		store, err := sqlite.Open(filepath.Join(b.TempDir(), "bench.db"))
		if err != nil {
			b.Fatal(err)
		}
		benchStorage(b, store)
	})
	b.Run("postgres", func(b *testing.B) {
		store, err := postgres.Open(pgtest.Start(b, pgtest.Durable()).DSN())
		if err != nil {
			b.Fatal(err)
		}
		benchStorage(b, store)
	})
}

func benchStorage(b *testing.B, store broker.Storage) {
	const size = 256
	defer store.Close()
	ctx := b.Context()
	if err := store.Migrate(ctx); err != nil {
		b.Fatal(err)
	}
	if err := store.Claim(ctx); err != nil {
		b.Fatal(err)
	}
	var ids wire.IDSource
	meshID, sender := ids.New(time.Now()), ids.New(time.Now())
	var head audit.Head
	var seq int64
	for b.Loop() {
		b.StopTimer()
		var batch journal.Batch
		for range size {
			seq++
			m, e := benchRow(meshID, sender, ids.New(time.Now()), seq)
			entry, next := audit.Extend(head, e)
			head = next
			batch.Messages, batch.Audit = append(batch.Messages, m), append(batch.Audit, entry)
		}
		b.StartTimer()
		if dups, err := store.Commit(ctx, &batch); err != nil || len(dups) > 0 {
			b.Fatal(err, dups)
		}
	}
	b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "messages/s")
}

// benchRow is a message as the broker stores it, and its audit event.
func benchRow(meshID, sender, id wire.ID, seq int64) (*queue.Accepted, audit.Event) {
	now := time.Now().Truncate(time.Millisecond)
	key := wire.Key{0: 1}
	binary.BigEndian.PutUint64(key[24:], uint64(seq))
	m := &queue.Accepted{Message: queue.Message{
		ID: id, MeshID: meshID, SenderMember: sender, SenderMemberKey: key, SenderKey: key, SenderName: "sender",
		TargetSpec: key.String(), Priority: wire.Next, Nonce: strings.Repeat("A", 32), Ciphertext: strings.Repeat("A", benchBody/3*4),
		CreatedAt: now, ClientID: fmt.Sprintf("%08d", seq),
	}}
	m.Recipients = []queue.Recipient{{Seq: seq, Mailbox: queue.Mailbox{Mesh: meshID, Name: fmt.Sprintf("s/%d", seq%50)}, Key: key, Name: "recipient"}}
	return m, audit.NewEvent(meshID, now, sender.String(), audit.RoutedDetail{
		Message: id, Target: audit.Direct, Recipients: 1, Bytes: len(m.Ciphertext), Priority: wire.Next,
	})
}

// echoVariable is the environment variable that turns the test binary into an echo server;
// see runEcho.
const echoVariable = "CLAUDEMESH_TEST_ECHO"

// BenchmarkEcho measures the throughput of WebSockets alone: it sends the frames of a
// message to a process that returns them.
func BenchmarkEcho(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := &person{t: b, dir: filepath.Join(b.TempDir(), "x"), env: append(os.Environ(), echoVariable+"=1")}
	cmd := p.command()
	cmd.Path, cmd.Args = self, []string{self}
	echo := startProcess(b, cmd)
	url := echo.line()
	for _, conns := range []int{1, 50} {
		for _, window := range []int{1, 32} {
			b.Run(fmt.Sprintf("conns=%d/window=%d", conns, window), func(b *testing.B) {
				benchEcho(b, url, conns, window)
			})
		}
	}
}

func benchEcho(b *testing.B, url string, conns, window int) {
	text := strings.Repeat("x", benchBody/3*4+220) // about the length of a send frame
	list := make([]*rawClient, conns)
	for i := range list {
		list[i] = dialRaw(b, url)
	}
	b.ResetTimer()
	var all sync.WaitGroup
	for i, c := range list {
		n := b.N/conns + min(1, max(0, b.N%conns-i))
		free := make(chan struct{}, window)
		all.Go(func() {
			for range n {
				free <- struct{}{}
				if err := c.write("%s", text); err != nil {
					b.Error(err)
					return
				}
			}
		})
		all.Go(func() {
			for range n {
				if _, err := c.read(); err != nil {
					b.Error(err)
					return
				}
				<-free
			}
		})
	}
	all.Wait()
	b.StopTimer()
	for _, c := range list {
		c.drop()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// runEcho serves WebSockets that echo all messages, until the process is killed.
func runEcho() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for {
			kind, data, err := ws.Read(context.Background())
			if err != nil || ws.Write(context.Background(), kind, data) != nil {
				return
			}
		}
	}))
	fmt.Println("ws" + strings.TrimPrefix(srv.URL, "http"))
	select {}
}

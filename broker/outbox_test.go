package broker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// pipe returns an outbox that writes to a real WebSocket, and its other end.
func pipe(t *testing.T) (o *outbox, client *websocket.Conn) {
	t.Helper()
	accepted := make(chan *outbox, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, socket, err := accept(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		accepted <- &outbox{ws: ws, socket: socket, fail: func() {}, holdPushes: func() bool { return false }}
	}))
	t.Cleanup(web.Close)
	client, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(web.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	client.SetReadLimit(-1)
	o = <-accepted
	t.Cleanup(func() { _ = client.CloseNow(); _ = o.ws.CloseNow() })
	return o, client
}

func read(t *testing.T, ws *websocket.Conn) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	_, data, err := ws.Read(ctx)
	return string(data), err
}

func TestOutboxKeepsOrderAndClosesLast(t *testing.T) {
	t.Parallel()
	o, client := pipe(t)
	for i := range 500 {
		o.add([]byte(fmt.Sprint(i)))
	}
	o.finish(wire.CloseRestart, wire.ReasonShutdown)
	o.add([]byte("too late"))
	for i := range 500 {
		if got, err := read(t, client); err != nil || got != fmt.Sprint(i) {
			t.Fatalf("frame %d: got %q, %v; want %q", i, got, err, fmt.Sprint(i))
		}
	}
	if _, err := read(t, client); websocket.CloseStatus(err) != wire.CloseRestart {
		t.Fatalf("after the last frame: got %v, want close code %d", err, wire.CloseRestart)
	}
}

func somebody() *presence.Presence[*conn] { return new(presence.Presence[*conn]) }

// told returns an event about p with the text as its frame.
func told(p *presence.Presence[*conn], kind, text string) *event {
	return &event{about: p, kind: kind, frame: []byte(text)}
}

// TestOutboxReducesNews checks that a client that reads slowly gets the reduced news and
// every message.
func TestOutboxReducesNews(t *testing.T) {
	t.Parallel()
	o, client := pipe(t)
	o.writing = true // nothing is written yet
	stays, leaves := somebody(), somebody()
	o.addNews(told(stays, wire.EventPeerJoined, "came"))
	o.addNews(told(leaves, wire.EventPeerLeft, "left"))
	for i := range 20 * newsLimit {
		guest := somebody()
		o.addNews(told(guest, wire.EventPeerJoined, "guest"))
		o.addNews(told(guest, wire.EventPeerLeft, "guest"))
		o.addNews(told(stays, wire.EventProfileUpdated, fmt.Sprint("profile ", i)))
		if i%newsLimit == 0 {
			o.add([]byte("message"))
		}
		if o.news > newsLimit {
			t.Fatalf("%d news wait, want at most %d", o.news, newsLimit)
		}
	}
	o.finish(wire.CloseRestart, wire.ReasonShutdown)
	o.ended.Add(1)
	go o.write()
	var got []string
	for {
		text, err := read(t, client)
		if err != nil {
			break
		}
		got = append(got, text)
	}
	messages := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s != "message" })
	profiles := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasPrefix(s, "profile") })
	if len(messages) != 20 || got[0] != "came" || !slices.Contains(got, "left") || len(got) > newsLimit+20 {
		t.Errorf("got %d frames with %d messages, the first is %q; want at most %d with 20, first \"came\", and \"left\" among them",
			len(got), len(messages), got[0], newsLimit+20)
	}
	if last := profiles[len(profiles)-1]; last != fmt.Sprint("profile ", 20*newsLimit-1) {
		t.Errorf("got last profile %q, want the newest", last)
	}
}

// hijacked is a response writer whose connection can be hijacked.
type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(strings.NewReader("")), bufio.NewWriter(io.Discard)), nil
}

// slowOutbox returns an outbox that writes to a slowConn.
func slowOutbox(t *testing.T) (*outbox, *slowConn) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/ws", http.NoBody)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		r.Header.Set(name, value)
	}
	conn := newSlowConn()
	ws, socket, err := accept(hijacked{httptest.NewRecorder(), conn}, r)
	if err != nil {
		t.Fatal(err)
	}
	return &outbox{ws: ws, socket: socket, fail: func() {}, holdPushes: func() bool { return false }}, conn
}

// TestOutboxCollectsNews checks that news wait for newsDelay and are written together. A
// message does not wait, and takes the news before it along. Many news do not wait either.
func TestOutboxCollectsNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, conn := slowOutbox(t)
		begin := time.Now()
		o.addNews(told(nil, wire.EventPeerLeft, "first"))
		o.addNews(told(nil, wire.EventPeerLeft, "second"))
		const together = "\x81\x05first\x81\x06second"
		if got := string(<-conn.writes); got != together || time.Since(begin) != newsDelay {
			t.Errorf("wrote %q after %v, want %q after %v", got, time.Since(begin), together, newsDelay)
		}
		synctest.Wait()
		begin = time.Now()
		o.addNews(told(nil, wire.EventPeerLeft, "third"))
		o.add([]byte("message"))
		if got := string(<-conn.writes); got != "\x81\x05third\x81\x07message" || time.Since(begin) != 0 {
			t.Errorf("wrote %q after %v, want the third news and the message at once", got, time.Since(begin))
		}
		synctest.Wait()
		for range newsLimit / 2 {
			o.addNews(told(somebody(), wire.EventPeerLeft, "news"))
		}
		if <-conn.writes; time.Since(begin) != 0 {
			t.Errorf("many news waited for %v, want no wait", time.Since(begin))
		}
	})
}

// TestOutboxMakesReaderWait checks that waitRoom waits while too much is to be written, until
// enough is written or the connection ends.
func TestOutboxMakesReaderWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, conn := slowOutbox(t)
		var passed atomic.Bool
		wait := func() {
			passed.Store(false)
			go func() { o.waitRoom(); passed.Store(true) }()
			if synctest.Wait(); passed.Load() {
				t.Fatal("waitRoom did not wait although the outbox is full")
			}
		}
		goesOn := func() {
			if synctest.Wait(); !passed.Load() {
				t.Fatal("waitRoom still waits")
			}
		}
		o.add(make([]byte, outboxBytes))
		o.add([]byte("the rest"))
		synctest.Wait() // the first frame is being written
		o.add(make([]byte, outboxBytes))
		wait()
		<-conn.writes
		goesOn()
		o.add(make([]byte, outboxBytes))
		wait()
		o.discard()
		goesOn()
		<-conn.writes
	})
}

func TestAckLineOrder(t *testing.T) {
	t.Parallel()
	o, client := pipe(t)
	line := newAckLine(o)
	slots := make([]*ackSlot, 5)
	for i := range slots {
		slots[i] = line.enter(fmt.Sprint(i), "", nil)
	}
	for _, i := range []int{3, 1, 0, 4, 2} {
		line.decide(slots[i], "", fmt.Sprint("try_again: ", i))
	}
	for i := range slots {
		got, err := read(t, client)
		if want := fmt.Sprintf(`"id":"%d"`, i); err != nil || !strings.Contains(got, want) {
			t.Fatalf("ack %d: got %s, %v; want %s", i, got, err, want)
		}
	}
	full := newAckLine(o)
	for range ackLimit {
		full.enter("", "", nil)
	}
	gone := make(chan struct{})
	close(gone)
	if full.enter("", "", gone) != nil {
		t.Fatal("a full line accepted one more ack")
	}
}

func TestLimiters(t *testing.T) {
	t.Parallel()
	l := newLimiters[string]()
	now := time.Now()
	allowed := func(key string, perMinute, burst, n int) (count int) {
		for range n {
			if l.allow(key, perMinute, burst, now) {
				count++
			}
		}
		return count
	}
	if got := allowed("a", 60, 10, 30); got != 10 {
		t.Errorf("allowed a burst of %d, want 10", got)
	}
	if got := allowed("b", 60, 10, 5); got != 5 {
		t.Errorf("another key: allowed %d, want 5", got)
	}
	now = now.Add(3 * time.Second)
	if got := allowed("a", 60, 10, 30); got != 3 {
		t.Errorf("after three seconds: allowed %d, want 3", got)
	}
	if got := allowed("a", 6000, 50, 1); got != 0 {
		t.Errorf("after the limit was raised: allowed %d at once, want 0", got)
	}
	now = now.Add(time.Minute)
	l.forget(now)
	if n := len(l.buckets); n != 0 {
		t.Errorf("kept %d full buckets, want 0", n)
	}
}

// TestOutboxHoldsPushes checks that held pushes do not hold up other frames, and that they
// go out first and in order when they are released.
func TestOutboxHoldsPushes(t *testing.T) {
	t.Parallel()
	o, client := pipe(t)
	var hold atomic.Bool
	hold.Store(true)
	o.holdPushes = hold.Load
	want := func(text string) {
		t.Helper()
		if got, err := read(t, client); got != text {
			t.Fatalf("got %q, %v; want %q", got, err, text)
		}
	}
	o.addPush([]byte("push 1"))
	o.add([]byte("answer 1"))
	want("answer 1")
	o.addPush([]byte("push 2"))
	o.add([]byte("answer 2"))
	want("answer 2")
	if o.flushed() {
		t.Error("flushed reports true although pushes are held")
	}
	hold.Store(false)
	o.addPush([]byte("push 3"))
	for i := range 3 {
		want(fmt.Sprint("push ", i+1))
	}
	hold.Store(true)
	o.addPush([]byte("push 4"))
	o.add([]byte("answer 3"))
	want("answer 3")
	hold.Store(false)
	o.release()
	want("push 4")
}

package tests

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// TestKill kills the broker with SIGKILL right after acks and checks that every acknowledged
// message arrives.
func TestKill(t *testing.T) {
	t.Parallel()
	t.Run("recipient away", func(t *testing.T) {
		onBoth(t, nil, func(t *testing.T, s *server) {
			m := newTeam(t, s)
			bob := m.join(t, "bob")
			from := m.owner.daemon(t)
			want := sendMany(from, bob.keys.hex, 80)
			s.Kill()
			s.Start()
			checkArrival(t, bob.daemon(t), want)
		})
	})
	t.Run("recipient not acknowledging", func(t *testing.T) {
		onBoth(t, nil, func(t *testing.T, s *server) {
			m := newTeam(t, s)
			bob, key := m.join(t, "bob"), newKeys()
			from, to := m.owner.daemon(t), bob.session(t, key)
			want := sendMany(from, key.hex, 80)
			to.await("a push", isMessage)
			s.Kill()
			s.Start()
			checkArrival(t, bob.session(t, key), want)
		})
	})
	t.Run("in the middle of a stream", func(t *testing.T) {
		onBoth(t, []string{"SEND_BURST=100000", "SEND_RATE_PER_MIN=6000000"}, killInStream)
	})
	t.Run("broadcast", func(t *testing.T) {
		onBoth(t, nil, func(t *testing.T, s *server) {
			m := newTeam(t, s)
			bob, carol, key := m.join(t, "bob"), m.join(t, "carol"), newKeys()
			from := m.owner.daemon(t)
			session, daemon := bob.session(t, key), carol.daemon(t)
			want := sendMany(from, "*", 10)
			if got := daemon.texts(10); !slices.Equal(got, want) {
				t.Errorf("carol got %v", got)
			}
			session.drop()
			s.Kill()
			s.Start()
			checkArrival(t, bob.session(t, key), want)
		})
	})
}

// sendMany sends n texts at once and waits for all their acks.
func sendMany(c *v1Client, target string, n int) []string {
	c.t.Helper()
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprint("text ", i)
		f := draft(target, want[i])
		f["client_message_id"] = f["id"]
		c.write(f)
	}
	for range want {
		if a := c.await("ack", ofType("ack")); a["queued"] != true {
			c.t.Fatalf("refused: %s", a)
		}
	}
	return want
}

// checkArrival expects these texts in this order, each once, with the client's
// deduplication.
func checkArrival(t *testing.T, c *v1Client, want []string) {
	t.Helper()
	var got []string
	seen := map[string]bool{}
	for len(got) < len(want) {
		m := c.message()
		if id := m.str("messageId"); !seen[id] {
			seen[id] = true
			got = append(got, text(m))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	c.none("something else", func(f frame) bool { return isMessage(f) && !seen[f.str("messageId")] })
}

// killInStream kills the broker while acks arrive. Acknowledged messages must arrive under
// their ids; the test resends the others, like a client.
func killInStream(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	from, to := m.owner.daemon(t), bob.session(t, key)
	from.send(m.join(t, "carol").keys.hex, "x") // its ack implies that the session is stored, too
	frames := make([]frame, 400)
	for i := range frames {
		frames[i] = draft(key.hex, fmt.Sprint(i))
		frames[i]["client_message_id"] = frames[i]["id"]
	}
	go func() {
		for _, f := range frames {
			if from.ws.Write(t.Context(), websocket.MessageText, []byte(f.String())) != nil {
				return
			}
		}
	}()
	arrived := arrivals{t: t, acked: map[string]string{}, got: map[string]bool{}, confirmed: map[string]bool{}}
	for range 50 { // the recipient acknowledges only some
		f := to.message()
		arrived.add(f)
		arrived.confirmed[f.str("client_message_id")] = true
		arrived.noteAck(from.await("ack", ofType("ack")))
	}
	s.Kill()
	arrived.addRest(from)
	arrived.addRest(to)
	s.Start()
	from = m.owner.daemon(t)
	for _, f := range frames {
		arrived.noteAck(from.post(f))
	}
	back := bob.session(t, key)
	for last := -1; last < len(frames)-1; {
		f := back.message()
		arrived.add(f)
		i, err := strconv.Atoi(text(f))
		if err != nil || i < last {
			t.Fatalf("%q came after %d", text(f), last)
		}
		last = i
	}
	if len(arrived.got) != len(frames) {
		t.Errorf("%d messages of %d came", len(arrived.got), len(frames))
	}
}

// arrivals compares the received messages with the acknowledged ones, by client_message_id,
// like a recipient that deduplicates.
type arrivals struct {
	t     *testing.T
	acked map[string]string // the message id
	got   map[string]bool
	// confirmed holds the messages that their only recipient has acknowledged. The broker
	// needn't store such a message, so its resend may get another id after a crash.
	confirmed map[string]bool
}

func (a *arrivals) noteAck(ack frame) {
	a.t.Helper()
	id := ack.str("id")
	if before := a.acked[id]; ack["queued"] != true || before != "" && before != ack.str("messageId") && !a.confirmed[id] {
		a.t.Fatalf("ack %s, before it was %q", ack, a.acked[id])
	}
	a.acked[id] = ack.str("messageId")
}

// add records a message. If the broker died after it pushed a message and before it sent the
// ack, the resend has another id: nobody relied on the first one.
func (a *arrivals) add(m frame) {
	a.got[m.str("client_message_id")] = true
}

// addRest adds the messages that a client had received when its socket closed.
func (a *arrivals) addRest(c *v1Client) {
	c.awaitEnd()
	for _, f := range c.peek() {
		if isMessage(f) {
			a.add(f)
		} else if f.str("type") == "ack" {
			a.noteAck(f)
		}
	}
}

func TestRestart(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, s *server) {
		m := newTeam(t, s)
		bob, key := m.join(t, "bob"), newKeys()
		from, to := m.owner.daemon(t), bob.session(t, key)
		to.write(frame{"type": "set_summary", "summary": "kept"})
		to.write(frame{"type": "set_status", "status": "dnd"})
		to.sync()
		from.send(key.hex, "first", "client_message_id", "intent")
		id := from.send(bob.keys.hex, "second", "client_message_id", "intent-2", "priority", "now")
		to.message()
		to.sync() // the broker has the acknowledgement
		s.Stop()
		if code := websocket.CloseStatus(from.awaitEnd()); code != 1012 {
			t.Errorf("a stopping broker closed with %d", code)
		}
		s.Start()
		watching := m.owner.daemon(t)
		if again := watching.send(bob.keys.hex, "second", "client_message_id", "intent-2"); again != id {
			t.Errorf("resent after a restart: %s, was %s", again, id)
		}
		row := watching.row(sessionID(key))
		if row == nil || row["online"] != false || row.str("summary") != "kept" || row.str("status") != "dnd" {
			t.Errorf("row of a leased session: %s", row)
		}
		back := bob.session(t, key)
		if back.ack.str("presenceId") != to.ack.str("presenceId") {
			t.Errorf("presence %s, was %s", back.ack, to.ack)
		}
		watching.none("news of a restart", isSystem)
		back.none("a message in dnd", isMessage)
		back.write(frame{"type": "set_status", "status": "idle"})
		if got := text(back.message()); got != "first" {
			t.Errorf("got %q", got)
		}
		back.none("a message again", isMessage)
	})
}

// TestReplayAfterRestart checks that a restarted broker refuses a captured hello, too.
func TestReplayAfterRestart(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, s *server) {
		m := newTeam(t, s)
		bob, session := m.join(t, "bob"), newKeys()
		captured := []frame{bob.keys.signHello(bob.hello()), session.signSessionHello(bob.sessionHello(session))}
		for _, hello := range captured {
			// This message is stored after the hello. Its ack implies that the hello is stored.
			s.greet(t, hello).send(m.owner.keys.hex, "x")
		}
		for _, end := range []func(){s.Kill, s.Stop} {
			end()
			s.Start()
			for _, hello := range captured {
				c := s.dial(t)
				c.write(hello)
				if f := c.await("an answer", func(frame) bool { return true }); f.str("type") != "error" {
					t.Errorf("a captured hello was accepted: %s", f)
				}
			}
			bob.session(t, session).sync() // a fresh hello is accepted at once
			bob.daemon(t).sync()
		}
	})
}

func TestPostgresOutage(t *testing.T) {
	t.Parallel()
	outages := []struct {
		name       string
		begin, end func(*pgtest.Server)
	}{
		{"frozen", (*pgtest.Server).Pause, (*pgtest.Server).Resume},
		{"killed", (*pgtest.Server).Kill, (*pgtest.Server).Restart},
		{"restarted", (*pgtest.Server).Stop, (*pgtest.Server).Restart},
	}
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			pg := pgtest.Start(t, pgtest.Durable())
			s := startServer(t, "DATABASE_URL="+pg.DSN())
			outage(t, s, func() { o.begin(pg) }, func() { o.end(pg) })
		})
	}
}

// TestStartWithoutPostgres checks that a broker waits for its database.
func TestStartWithoutPostgres(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	pg.Stop()
	s := newServer(t, "DATABASE_URL="+pg.DSN())
	s.Launch()
	await.Until(t, "the broker says that it is not ready", func() bool {
		status, text := s.TryGet("/health/ready")
		return status == 503 && parse(t, text).str("reason") != ""
	})
	await.Until(t, "the broker has started, and says that its storage is down", func() bool {
		status, text := s.TryGet("/health")
		return status == 200 && parse(t, text).str("db") == "down"
	})
	pg.Restart()
	s.AwaitReady()
	newTeam(t, s).owner.daemon(t).sync()
}

// outage makes the storage unreachable for a while. Meanwhile the broker must refuse new
// messages with a word that makes v1 clients retry, report that it isn't ready, and keep the
// sockets. Afterwards every message that it accepted must arrive.
func outage(t *testing.T, s *server, begin, end func()) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	c, other := m.owner.daemon(t), m.owner.session(t, newKeys())
	accepted := sendMany(c, bob.keys.hex, 5)
	begin()
	var refused frame // the message that the test resends, like a client
	var e string
	await.Until(t, "a message is refused", func() bool {
		body := fmt.Sprint("during ", len(accepted))
		refused = draft(bob.keys.hex, body)
		refused["client_message_id"] = refused["id"]
		a := c.post(refused)
		if e = a.str("error"); e == "" {
			accepted = append(accepted, body)
		}
		return e != ""
	})
	if word, _, _ := strings.Cut(e, ":"); word != "try_again" && word != "queue_full" || permanent.MatchString(e) {
		t.Errorf("refused with %q", e)
	}
	await.Until(t, "the broker says that it is not ready", func() bool {
		status, text := s.TryGet("/health/ready")
		return status == 503 && parse(t, text).str("status") == "not_ready" && parse(t, text).str("reason") != ""
	})
	if status, text := s.TryGet("/health"); status != 200 || parse(t, text).str("db") != "down" {
		t.Errorf("health: %d %s", status, text)
	}
	other.sync()
	// Other data that is stored must not make the broker ready: a status may fit where
	// messages don't.
	for i := range 8 {
		other.write(frame{"type": "set_status", "status": []string{"working", "idle"}[i%2]})
		other.sync()
		if status, text := s.TryGet("/health/ready"); status != 503 {
			t.Fatalf("check %d of a broker that can't store messages: %d %s", i, status, text)
		}
	}
	end()
	s.AwaitReady()
	await.Until(t, "the message is accepted", func() bool { return c.post(refused)["queued"] == true })
	accepted = append(accepted, text(refused))
	accepted = append(accepted, sendMany(c, bob.keys.hex, 5)...)
	c.sync() // the socket survived
	other.sync()
	checkArrival(t, bob.daemon(t), accepted)
}

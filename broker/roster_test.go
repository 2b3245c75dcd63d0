package broker_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/wire"
)

// keeper is a session that keeps its roster up to date by asking for changes.
type keeper struct {
	*client
	version string
	rows    map[string]frame
}

func (s *server) keeper(m member) *keeper {
	s.t.Helper()
	hello := sessionHello(m, newKeys(s.t), "keeper")
	hello["capabilities"] = []string{wire.CapRosterChanged}
	c := s.dial()
	c.send(hello)
	if !slices.Contains(c.next("hello_ack")["capabilities"].([]any), any(wire.CapRosterChanged)) {
		s.t.Errorf("hello_ack lacks the capability %s", wire.CapRosterChanged)
	}
	return &keeper{client: c}
}

// ask asks for the changes, and reports whether the whole roster came.
func (k *keeper) ask() (whole bool) {
	k.t.Helper()
	request := frame{"type": "list_peers", "_reqId": "r"}
	if k.version != "" {
		request["since"] = k.version
	}
	k.send(request)
	list := k.read("peers_list")
	for list["type"] == wire.TypeRosterChanged { // sent before the broker read the request
		list = k.read("peers_list")
	}
	if list["type"] != "peers_list" {
		k.t.Fatalf("got %v, want peers_list", list)
	}
	if _, part := list["since"]; !part {
		whole, k.rows = true, make(map[string]frame)
	} else if list["since"] != k.version {
		k.t.Fatalf("got changes since %v, want since %s", list["since"], k.version)
	}
	for _, row := range list["peers"].([]any) {
		k.rows[row.(frame)["presenceId"].(string)] = row.(frame)
	}
	gone, _ := list["gone"].([]any)
	for _, id := range gone {
		delete(k.rows, id.(string))
	}
	k.version = list["version"].(string)
	return whole
}

// compare checks the rows against those of a client that asks for the whole roster.
func (k *keeper) compare(all *client) {
	k.t.Helper()
	all.send(frame{"type": "list_peers", "_reqId": "r"})
	want := make(map[string]frame)
	for _, row := range all.next("peers_list")["peers"].([]any) {
		want[row.(frame)["presenceId"].(string)] = row.(frame)
	}
	if !reflect.DeepEqual(k.rows, want) {
		k.t.Errorf("got roster\n%v, want\n%v", k.rows, want)
	}
}

// frames sends a request and returns the types and events of the frames before its answer.
func (c *client) frames() (list []string) {
	c.t.Helper()
	c.send(frame{"type": "message_status", "_reqId": "end", "messageId": "00000000"})
	for {
		f := c.read("an error")
		if f["type"] == "error" {
			return list
		}
		event, _ := f["event"].(string)
		list = append(list, strings.TrimSpace(f["type"].(string)+" "+event))
	}
}

// event returns the next system push.
func (c *client) event() (f frame) {
	c.t.Helper()
	for f["event"] == nil {
		f = c.read("a system push")
	}
	return f
}

func TestRosterByDifferences(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	owner := s.owner()
	other := s.join(owner)
	k, all := s.keeper(owner), s.session(owner, newKeys(t), "v1")
	if !k.ask() {
		t.Fatal("the first answer is not the whole roster")
	}
	k.compare(all)
	names := make([]*client, 5)
	for i := range names {
		names[i] = s.session(other, newKeys(t), fmt.Sprint("s", i))
	}
	k.next(wire.TypeRosterChanged)
	if k.ask() {
		t.Error("the whole roster came, want the changes only")
	}
	k.compare(all)
	names[0].send(frame{"type": "set_status", "status": "working", "reason": "r"})
	names[1].send(frame{"type": "set_summary", "summary": "at it"})
	names[2].send(frame{"type": "set_visible", "visible": false, "_reqId": "v"})
	names[2].next("ack")
	names[3].send(frame{"type": "join_group", "name": "g"})
	_ = names[4].ws.Close(1000, "")
	for _, c := range names[:4] {
		c.peers() // by its answer, the broker has served the frames before it
	}
	k.next(wire.TypeRosterChanged)
	await.Until(s.t, "the session that left is gone", func() bool {
		whole := k.ask()
		return !whole && len(k.rows) == 5
	})
	k.compare(all)
	_ = names[0].ws.CloseNow() // without a close frame: leased
	await.Until(s.t, "the session that was cut is leased", func() bool {
		k.ask()
		for _, row := range k.rows {
			if row["sessionId"] == "s0" {
				return row["online"] == false
			}
		}
		return false
	})
	k.compare(all)
	k.version = "0123456789abcdef-1"
	if !k.ask() {
		t.Error("the broker accepted a version of another broker")
	}
	k.compare(all)
	k.send(frame{"type": "list_peers", "_reqId": "r", "since": 7})
	if e := k.next("error"); e["code"] != "invalid" || e["_reqId"] != "r" {
		t.Errorf("a version that is not a string: got %v, want the error invalid", e)
	}
}

// TestOneNoticeUntilAsked checks that a client that keeps the roster gets one notice until
// it asks, however many sessions come. Other clients are told of each.
func TestOneNoticeUntilAsked(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	owner := s.owner()
	k, v1 := s.keeper(owner), s.session(owner, newKeys(t), "v1")
	k.next(wire.TypeRosterChanged)
	for range 2 {
		k.ask()
		guests := make([]*client, 20)
		for i := range guests {
			guests[i] = s.session(owner, newKeys(t), fmt.Sprint("s", i))
		}
		for _, news := range v1.news(len(guests)) {
			if !strings.HasPrefix(news, "peer_joined") {
				t.Errorf("a v1 client got %q, want peer_joined", news)
			}
		}
		if got := k.next(wire.TypeRosterChanged); got["version"] == k.version {
			t.Fatal("got a notice of a version that the client has")
		}
		for _, c := range guests {
			_ = c.ws.Close(1000, "")
		}
		v1.news(len(guests))
		if got := k.frames(); len(got) > 0 {
			t.Errorf("got %v before asking, want nothing", got)
		}
		if k.ask(); len(k.rows) != 2 {
			t.Errorf("got %d rows, want 2", len(k.rows))
		}
	}
}

// TestManyChangesOfOneAreOneNews checks that a session that changes all the time makes few
// news, and that the last change is always among them.
func TestManyChangesOfOneAreOneNews(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	owner := s.owner()
	v1, busy := s.session(owner, newKeys(t), "v1"), s.session(owner, newKeys(t), "busy")
	v1.news(1)
	const changes = 200
	for i := range changes {
		busy.send(frame{"type": "set_profile", "title": fmt.Sprint(i), "_reqId": "p"})
		busy.send(frame{"type": "set_visible", "visible": i%2 == 1, "_reqId": "v"})
	}
	for range 2 * changes {
		busy.next("ack")
	}
	told := 0
	for last := ""; last != fmt.Sprint(changes-1); {
		push := v1.event()
		if told++; told > changes/2 {
			t.Fatalf("got %d news of %d changes, want at most %d", told, 2*changes, changes/2)
		}
		if push["event"] == "profile_updated" {
			last = push["eventData"].(frame)["profile"].(frame)["title"].(string)
		}
	}
	_ = busy.ws.Close(1000, "")
	if got := v1.news(1); !strings.HasPrefix(got[0], "peer_left") {
		t.Errorf("got %v, want peer_left", got)
	}
}

// TestLeavingHidden checks that a session that hides and leaves at once does not stay in
// the roster of others.
func TestLeavingHidden(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	owner := s.owner()
	v1, shy := s.session(owner, newKeys(t), "v1"), s.session(owner, newKeys(t), "shy")
	v1.news(1)
	shy.send(frame{"type": "set_visible", "visible": false, "_reqId": "v"})
	shy.next("ack")
	_ = shy.ws.Close(1000, "")
	if got := v1.news(1); !strings.HasPrefix(got[0], "peer_left") && !strings.HasPrefix(got[0], "peer_hidden") {
		t.Errorf("got %v, want peer_left or peer_hidden", got)
	}
}

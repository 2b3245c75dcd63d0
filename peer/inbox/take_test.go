package inbox

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// mailTest is an inbox with messages from Alice.
type mailTest struct {
	*Inbox
	t     *testing.T
	dir   peer.Dir
	alice wire.Key
	now   time.Time
}

func newMailTest(t *testing.T) *mailTest {
	dir := peer.Dir(t.TempDir())
	return &mailTest{Inbox: openInbox(t, dir), t: t, dir: dir, alice: newKey(t).Public(), now: time.UnixMilli(1_795_460_363_351).UTC()}
}

// add stores a message with the given sealing.
func (m *mailTest) add(session, id string, sealing peer.Sealing, body string) bool {
	m.t.Helper()
	in := peer.Incoming{
		MessageID: id, ClientID: "client-" + id, Sender: m.alice, Member: m.alice, Name: "alice", Sealing: sealing,
		Body: []byte(body), Priority: wire.Next, Verified: true, WantsReceipt: sealing == peer.Direct, CreatedAt: m.now,
	}
	added, err := m.Add(m.t.Context(), Mailbox{"mesh", session}, &in, m.now)
	if err != nil {
		m.t.Fatal(err)
	}
	return added
}

func (m *mailTest) unread(session string, memberMail bool) string {
	m.t.Helper()
	f := Filter{[]string{"mesh"}, session, memberMail}
	list, err := m.Unread(m.t.Context(), f)
	if err != nil {
		m.t.Fatal(err)
	}
	n, err := m.CountUnread(m.t.Context(), f)
	if err != nil || n != len(list) {
		m.t.Errorf("%d counted, %d listed, %v", n, len(list), err)
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].MessageID
		if list[i].Announced {
			ids[i] += "*"
		}
	}
	return strings.Join(ids, " ")
}

func (m *mailTest) take(session, toolUse string) string {
	m.t.Helper()
	list, _, err := m.Take(m.t.Context(), TakeOptions{Filter: Filter{[]string{"mesh"}, session, true}, ToolUse: toolUse, Now: m.now})
	if err != nil {
		m.t.Fatal(err)
	}
	return idsOf(list)
}

func (m *mailTest) confirm(session, toolUse string) string {
	m.t.Helper()
	var ids string
	tell := func(list []Stored) error { ids = idsOf(list); return nil }
	if err := m.ConfirmTaken(m.t.Context(), session, toolUse, func(*Stored) bool { return true }, tell, m.now); err != nil {
		m.t.Fatal(err)
	}
	return ids
}

func idsOf(list []Stored) string {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].MessageID
	}
	return strings.Join(ids, " ")
}

func (m *mailTest) want(what, got, want string) {
	m.t.Helper()
	if got != want {
		m.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestMailIsTakenOnce(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	m.add("s1", "m1", peer.Direct, "x")
	m.add("s2", "m2", peer.Direct, "x")
	m.add("s1", "m3", peer.InMesh, "x")
	m.add("", "m4", peer.Direct, "x")
	m.want("session 1", m.unread("s1", true), "m1 m3 m4")
	m.want("without the member's", m.unread("s1", false), "m1 m3")
	m.want("the member", m.unread("", false), "m4")
	m.want("taken", m.take("s1", "tool1"), "m1 m3 m4")
	m.want("by the same call, whose answer was lost", m.take("s1", "tool1"), "m1 m3 m4")
	m.want("again", m.take("s1", "tool2"), "")
	m.want("by another session", m.take("s2", "tool3"), "m2")
	m.want("unread afterwards", m.unread("s1", true)+m.unread("", false), "")
	m.want("confirmed by another session", m.confirm("s2", "tool1"), "")
	m.want("confirmed", m.confirm("s1", "tool1"), "m1 m3 m4")
	m.want("confirmed again", m.confirm("s1", "tool1"), "")

	list, err := m.List(t.Context(), "mesh", ListOptions{All: true})
	if err != nil || len(list) != 1 || !list[0].Read || !list[0].ContextAt.Equal(m.now) || list[0].SenderKey() != m.alice || list[0].MemberKey() != m.alice || !list[0].WantsReceipt || !list[0].Verified {
		t.Errorf("got %+v, %v", list, err)
	}
	if _, _, err := m.Take(t.Context(), TakeOptions{Filter: Filter{Session: "s1"}}); err == nil {
		t.Error("a call without a name took messages")
	}
	if list, err := m.Unread(t.Context(), Filter{Session: "s1", MemberMail: true}); err != nil || len(list) != 0 {
		t.Errorf("without meshes: %+v, %v", list, err)
	}
}

// TestMailIsReleased checks that if a process dies before it confirms its messages, they
// are unread again; member mail is then unread for all sessions.
func TestMailIsReleased(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	m.add("s1", "m1", peer.Direct, "x")
	m.add("", "m2", peer.Direct, "x")
	list, err := m.Unread(t.Context(), Filter{[]string{"mesh"}, "s1", true})
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if err := m.MarkAnnounced(t.Context(), []int64{list[0].ID, list[1].ID}, m.now); err != nil {
		t.Fatal(err)
	}
	m.want("announced", m.unread("s1", true), "m1* m2*")
	m.take("s1", "tool1")
	taken, err := m.Taken(t.Context())
	if err != nil || len(taken) != 1 || taken[0] != (Taken{"s1", "tool1"}) {
		t.Errorf("taken: %+v, %v", taken, err)
	}
	if released, err := m.ReleaseTaken(t.Context(), "s1", "tool2", true); err != nil || len(released) != 0 {
		t.Errorf("released of another call: %+v, %v", released, err)
	}
	released, err := m.ReleaseTaken(t.Context(), "s1", "tool1", false)
	if err != nil || len(released) != 2 || released[0].Announced || !released[1].WantsReceipt || released[1].Session != "" {
		t.Errorf("released: %+v, %v", released, err)
	}
	m.want("the other session", m.unread("s2", true), "m2")
	m.want("taken by the other session", m.take("s2", "tool2"), "m2")
	m.want("taken again", m.take("s1", "tool3"), "m1")
	m.want("confirmed late", m.confirm("s1", "tool1"), "")
	m.want("confirmed", m.confirm("s1", "tool3"), "m1")
	if released, err := m.ReleaseTaken(t.Context(), "s1", "tool3", true); err != nil || len(released) != 0 {
		t.Errorf("released what was confirmed: %+v, %v", released, err)
	}
}

// TestMailThatMayHaveBeenSeen checks a call whose messages may have reached the context
// only in part. Only the messages whose fate is unknown are marked, and they stay marked.
func TestMailThatMayHaveBeenSeen(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	for _, id := range []string{"m1", "m2", "m3"} {
		m.add("s1", id, peer.Direct, "x")
	}
	marks := func(toolUse string) (marks string) {
		t.Helper()
		m.take("s1", toolUse)
		list, err := m.TakenBy(t.Context(), "s1", toolUse)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			marks += fmt.Sprintf("%s:%v ", list[i].MessageID, list[i].MaybeSeen)
		}
		return marks
	}
	release := func(toolUse string, maybeSeen bool) {
		t.Helper()
		if _, err := m.ReleaseTaken(t.Context(), "s1", toolUse, maybeSeen); err != nil {
			t.Fatal(err)
		}
	}
	m.want("at first", marks("tool1"), "m1:false m2:false m3:false ")
	release("tool1", false)
	m.want("refused by the user", marks("tool2"), "m1:false m2:false m3:false ")
	second := func(s *Stored) bool { return s.MessageID == "m2" }
	full := errors.New("no room for the receipts")
	for _, want := range []error{full, nil} {
		var told string
		tell := func(list []Stored) error { told = idsOf(list); return want }
		if err := m.ConfirmTaken(t.Context(), "s1", "tool2", second, tell, m.now); !errors.Is(err, want) || told != "m2" {
			t.Errorf("confirmed %q: %v, want %v", told, err, want)
		}
	}
	release("tool2", true)
	m.want("the rest", marks("tool3"), "m1:true m3:true ")
	release("tool3", false)
	m.want("for good", marks("tool4"), "m1:true m3:true ")
}

// TestMailForEverybody checks that a message to everybody comes to the member and to each
// session, and each session sees it once.
func TestMailForEverybody(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	m.add("", "m1", peer.InMesh, "x")
	m.want("before the session's own came", m.unread("s1", true), "m1")
	m.add("s1", "m1", peer.InMesh, "x")
	m.want("own and the member's", m.unread("s1", true), "m1")
	m.want("a session without one", m.unread("s2", true), "")
	m.want("taken", m.take("s1", "tool1"), "m1")
	m.want("afterwards", m.unread("s1", true), "")
	m.want("for the person", m.unread("", false), "m1")

	m.add("", "m2", peer.InMesh, "x")
	m.want("the member's copy", m.take("s1", "tool2"), "m2")
	if m.add("s1", "m2", peer.InMesh, "x") {
		t.Error("the session got its own copy too")
	}
	if !m.add("s2", "m2", peer.InMesh, "x") {
		t.Error("another session did not get its own copy")
	}
}

// TestDirectMailComesAgainElsewhere checks that a direct message is one message, even if it
// arrives again in another mailbox.
func TestDirectMailComesAgainElsewhere(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	m.add("s1", "m1", peer.Direct, "x")
	m.add("", "m2", peer.Direct, "x")
	m.want("taken", m.take("s1", "tool1"), "m1 m2")
	m.want("confirmed", m.confirm("s1", "tool1"), "m1 m2")
	for _, id := range []string{"m1", "m2"} {
		if m.add("s2", id, peer.Direct, "x") || m.add("", id, peer.Direct, "x") {
			t.Errorf("%s is new again", id)
		}
	}
}

func TestMailIsAdopted(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	m.add("old", "m1", peer.Direct, "x")
	m.take("old", "tool1")
	m.confirm("old", "tool1")
	m.add("old", "m2", peer.Direct, "x")
	m.add("", "m3", peer.Direct, "x")
	m.take("old", "tool2")
	m.add("old", "m4", peer.Direct, "x")
	m.add("old", "m5", peer.InMesh, "x")
	m.add("new", "m5", peer.InMesh, "x")
	n, err := m.Adopt(t.Context(), "old", "new")
	if err != nil || n != 2 {
		t.Errorf("%d adopted, %v", n, err)
	}
	m.want("new", m.unread("new", true), "m2 m3 m4 m5")
	m.want("old", m.unread("old", false), "m5")
	for _, tc := range [][2]string{{"", "new"}, {"old", ""}, {"old", "old"}} {
		if _, err := m.Adopt(t.Context(), tc[0], tc[1]); err == nil {
			t.Errorf("%q was accepted", tc)
		}
	}
}

func TestTakeFitsTheBudget(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	for i, n := range []int{30, 5, 5, 5, 100} {
		m.add("s1", fmt.Sprint("m", i), peer.Direct, strings.Repeat("é", n))
	}
	for _, tc := range []struct {
		name                   string
		chars, each, limit     int
		want                   string
		remaining, firstLength int
	}{
		{"the first fits always", 10, 0, 0, "m0", 4, 30},
		{"two fit", 10, 0, 0, "m1 m2", 2, 5},
		{"limit", 0, 0, 1, "m3", 1, 5},
		{"long ones count as cut", 10, 4, 0, "m4", 0, 100},
		{"nothing is left", 10, 4, 0, "", 0, 0},
	} {
		o := TakeOptions{Filter: Filter{[]string{"mesh"}, "s1", true}, ToolUse: tc.name, Chars: tc.chars, CharsEach: tc.each, Limit: tc.limit, Now: m.now}
		list, remaining, err := m.Take(t.Context(), o)
		if err != nil || idsOf(list) != tc.want || remaining != tc.remaining {
			t.Errorf("%s: got %s, %d left, %v", tc.name, idsOf(list), remaining, err)
		}
		if len(list) > 0 && len([]rune(list[0].Body)) != tc.firstLength {
			t.Errorf("%s: %d characters", tc.name, len([]rune(list[0].Body)))
		}
	}
}

func TestFindMail(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	m.add("s1", "abcdefgh-1", peer.Direct, "one")
	m.add("s1", "abcdefgh-2", peer.Direct, "two")
	m.add("s2", "12345678", peer.Direct, "another's")
	m.add("", "87654321", peer.Direct, "the member's")
	m.take("s1", "tool1")
	m.confirm("s1", "tool1")
	for _, tc := range []struct {
		session, id, want string
		err               error
	}{
		{"s1", "abcdefgh-1", "one", nil}, {"s1", "client-abcdefgh-2", "two", nil}, {"s1", "abcdefgh", "", ErrSeveralMessages},
		{"s1", "bcdefgh-2", "two", nil}, {"s1", "cdefgh-1", "one", nil}, {"s1", "defgh-1", "", ErrNoMessage}, {"s1", "client-abcdefgh", "", ErrSeveralMessages},
		{"s1", "12345678", "", ErrNoMessage}, {"s1", "87654321", "the member's", nil}, {"s2", "87654321", "", ErrNoMessage},
		{"s1", "abcdefg", "", ErrNoMessage}, {"s1", "abcdefg_", "", ErrNoMessage}, {"s1", "%%%%%%%%", "", ErrNoMessage},
	} {
		got, err := m.Find(t.Context(), Filter{[]string{"mesh"}, tc.session, true}, tc.id)
		if !errors.Is(err, tc.err) || got.Body != tc.want {
			t.Errorf("%s of %s: got %q, %v", tc.id, tc.session, got.Body, err)
		}
	}
}

func TestLoadOfASender(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	m.add("s1", "m1", peer.Direct, "12345")
	m.take("s1", "tool1")
	m.add("s1", "m2", peer.Direct, "123")
	m.add("s1", "m3", peer.Direct, "é")
	m.add("s2", "m4", peer.Direct, "x")
	stranger := newKey(t).Public()
	if _, err := m.Add(t.Context(), Mailbox{"mesh", "s1"}, &peer.Incoming{MessageID: "m5", Sender: stranger, Body: []byte("1234"), CreatedAt: m.now}, m.now); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		sender   wire.Key
		messages int
		size     int64
	}{{m.alice, 2, 5}, {stranger, 1, 4}, {newKey(t).Public(), 0, 0}} {
		if n, size, err := m.Load(t.Context(), Mailbox{"mesh", "s1"}, tc.sender); err != nil || n != tc.messages || size != tc.size {
			t.Errorf("got %d of %d bytes, %v; want %d of %d", n, size, err, tc.messages, tc.size)
		}
	}
}

func TestPruneForgetsWhatWasReadLongAgo(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	m.add("s1", "m1", peer.Direct, "x")
	m.take("s1", "tool1")
	m.confirm("s1", "tool1")
	m.add("s1", "m2", peer.Direct, "x")
	for _, tc := range []struct {
		after time.Duration
		want  int
	}{{keepRead, 0}, {keepRead + time.Millisecond, 1}, {100 * keepRead, 0}} {
		if n, err := m.Prune(t.Context(), m.now.Add(tc.after)); err != nil || n != tc.want {
			t.Errorf("after %v: %d deleted, %v", tc.after, n, err)
		}
	}
	m.want("unread", m.unread("s1", true), "m2")
}

// TestMemberMailIsTakenByOne checks that each piece of member mail goes to one session,
// however many sessions of however many processes try to take it.
func TestMemberMailIsTakenByOne(t *testing.T) {
	t.Parallel()
	m := newMailTest(t)
	const messages = 40
	for i := range messages {
		m.add("", fmt.Sprint("m", i), peer.Direct, "x")
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	takers := make(map[string]int)
	for i := range 4 {
		b := openInbox(t, m.dir)
		session := fmt.Sprint("s", i)
		group.Go(func() {
			for call := range messages {
				list, _, err := b.Take(t.Context(), TakeOptions{Filter: Filter{[]string{"mesh"}, session, true}, ToolUse: fmt.Sprint(session, call), Limit: 1, Now: m.now})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for i := range list {
					takers[list[i].MessageID]++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for id, n := range takers {
		if n != 1 {
			t.Errorf("%s was taken %d times", id, n)
		}
	}
	if len(takers) != messages {
		t.Errorf("%d messages were taken", len(takers))
	}
}

package plan

import (
	"reflect"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

func message(id byte, client string) *queue.Accepted {
	return &queue.Accepted{Message: queue.Message{ID: wire.ID{id}, MeshID: wire.ID{9}, ClientID: client}}
}

func TestSortMessages(t *testing.T) {
	t.Parallel()
	list := []*queue.Accepted{message(1, "a"), message(2, ""), message(3, "a"), message(4, "b"), message(2, ""), message(5, "b"), message(6, "")}
	sorted := SortMessages(list)
	want := Messages{New: []int{0, 1, 3, 6}, Repeats: map[int]int{2: 0, 4: 1, 5: 3}}
	if !reflect.DeepEqual(sorted, want) {
		t.Fatalf("got %+v, want %+v", sorted, want)
	}
	tests := []struct {
		name   string
		stored map[int]wire.ID
		want   []journal.Duplicate
	}{
		{"all new", nil, []journal.Duplicate{{Index: 2, Original: wire.ID{1}}, {Index: 5, Original: wire.ID{4}}}},
		{"the first is stored", map[int]wire.ID{0: {100}},
			[]journal.Duplicate{{Index: 0, Original: wire.ID{100}}, {Index: 2, Original: wire.ID{100}}, {Index: 5, Original: wire.ID{4}}}},
		{"the very same is stored", map[int]wire.ID{0: {1}, 1: {2}},
			[]journal.Duplicate{{Index: 2, Original: wire.ID{1}}, {Index: 5, Original: wire.ID{4}}}},
	}
	for _, test := range tests {
		if got := sorted.Duplicates(list, test.stored); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
	if got := SortMessages(list[:2]).Duplicates(list[:2], nil); got != nil {
		t.Errorf("duplicates of nothing: %v", got)
	}
}

func TestPending(t *testing.T) {
	t.Parallel()
	m := message(1, "")
	for i, state := range []queue.State{queue.Delivered, queue.Pending, queue.Gone, queue.Pending} {
		m.Recipients = append(m.Recipients, queue.Recipient{Seq: int64(i), State: state})
	}
	if got, want := Pending(m), []*queue.Recipient{&m.Recipients[1], &m.Recipients[3]}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := Pending(message(1, "")); got != nil {
		t.Errorf("of nobody: %v", got)
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	list := []*queue.Accepted{message(2, ""), message(3, ""), message(7, ""), message(1, "")}
	list[0].Recipients = []queue.Recipient{{Seq: 4}, {Seq: 9, State: queue.Delivered}, {Seq: 5}}
	list[2].MeshID, list[2].Recipients = wire.ID{8}, []queue.Recipient{{Seq: 9}}
	want := []Mark{{wire.ID{8}, queue.Mark{Seq: 9, Message: wire.ID{7}}}, {wire.ID{9}, queue.Mark{Seq: 9, Message: wire.ID{3}}}}
	if got := Marks(list); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := Marks(nil); got != nil {
		t.Errorf("of no messages: %v", got)
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	settled := Settlements([]queue.Settlement{{Seq: 1, State: queue.Delivered}, {Seq: 2, State: queue.Pending}, {Seq: 1, State: queue.Gone}, {Seq: 3, State: queue.Gone}, {Mesh: wire.ID{1}, Seq: 1, State: queue.Gone}})
	if want := []queue.Settlement{{Seq: 1, State: queue.Delivered}, {Seq: 3, State: queue.Gone}, {Mesh: wire.ID{1}, Seq: 1, State: queue.Gone}}; !reflect.DeepEqual(settled, want) {
		t.Errorf("settlements: %v", settled)
	}
	a, b := queue.Mailbox{Mesh: wire.ID{1}, Name: "x"}, queue.Mailbox{Mesh: wire.ID{2}, Name: "x"}
	closed := Closings([]queue.Closing{{Mailbox: a, At: now, Upto: 1}, {Mailbox: b}, {Mailbox: a, Upto: 2}})
	if want := []queue.Closing{{Mailbox: a, At: now, Upto: 2}, {Mailbox: b}}; !reflect.DeepEqual(closed, want) {
		t.Errorf("closings: %v", closed)
	}
	records := []presence.Record{{Identity: "s/1", PID: 1}, {Identity: "p/1"}, {Identity: "s/1", PID: 2}, {Identity: "p/2", EndedAt: now}, {Identity: "s/2", EndedAt: now}}
	keep, remove := Presences(records)
	if want := []*presence.Record{&records[1], &records[2], &records[4]}; !reflect.DeepEqual(keep, want) {
		t.Errorf("keep: %v", keep)
	}
	if want := []*presence.Record{&records[3]}; !reflect.DeepEqual(remove, want) {
		t.Errorf("remove: %v", remove)
	}
}

func TestHeads(t *testing.T) {
	t.Parallel()
	entry := func(mesh byte, seq int64) audit.Entry {
		return audit.Entry{Event: audit.Event{MeshID: wire.ID{mesh}}, Seq: seq}
	}
	entries := []audit.Entry{entry(1, 5), entry(2, 1), entry(1, 6), entry(1, 7), entry(2, 2)}
	if got, want := Heads(entries), []*audit.Entry{&entries[3], &entries[4]}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestIDRange(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string][2]string{
		"01234567":                         {"01234567000000000000000000000000", "01234567ffffffffffffffffffffffff"},
		"012345678":                        {"01234567800000000000000000000000", "012345678fffffffffffffffffffffff"},
		"0123456789abcdef0123456789abcdef": {"0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"},
	} {
		least, greatest, ok := IDRange(prefix)
		if !ok || least.String() != want[0] || greatest.String() != want[1] {
			t.Errorf("%s: %s to %s, %v", prefix, least, greatest, ok)
		}
	}
	for _, prefix := range []string{"0123456g", "0123456A", "0123456789abcdef0123456789abcdef0", "%"} {
		if _, _, ok := IDRange(prefix); ok {
			t.Errorf("%q has a range", prefix)
		}
	}
}

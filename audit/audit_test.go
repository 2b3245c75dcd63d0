package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

var (
	testMesh  = wire.ID{1, 2, 3}
	otherMesh = wire.ID{4, 5, 6}
	testTime  = time.Date(2026, 3, 4, 5, 6, 7, 891_234_567, time.UTC)
)

// chain returns n entries of a mesh and their head.
func chain(meshID wire.ID, n int) ([]Entry, Head) {
	var head Head
	entries := make([]Entry, n)
	for i := range entries {
		at := testTime.Add(time.Duration(i) * time.Second)
		e := NewEvent(meshID, at, Broker, RoutedDetail{
			Message: wire.ID{9, byte(i), byte(i >> 8)}, Target: Direct, Recipients: 1, Bytes: i, Priority: wire.Next,
		})
		entries[i], head = Extend(head, e)
	}
	return entries, head
}

// log is a Store of given entries.
type log struct {
	meshes  []wire.ID
	entries map[wire.ID][]Entry
	heads   map[wire.ID]Head
	onRead  func(*log) // called before each page
	err     error

	key      Key
	pruned   map[wire.ID]string
	restores map[wire.ID][]string
}

func newLog(meshID wire.ID, entries []Entry, head Head) *log {
	return &log{
		meshes:  []wire.ID{meshID},
		entries: map[wire.ID][]Entry{meshID: entries},
		heads:   map[wire.ID]Head{meshID: head},
	}
}

func (l *log) AuditKey(_ context.Context, fresh Key) (Key, error) {
	if l.key.IsZero() {
		l.key = fresh
	}
	return l.key, nil
}

func (l *log) AuditRestores(_ context.Context, meshID wire.ID, limit int) ([]string, error) {
	list := l.restores[meshID]
	return list[max(0, len(list)-limit):], nil
}

func (l *log) AddAuditRestore(_ context.Context, meshID wire.ID, _ time.Time, announcement string) error {
	if l.restores == nil {
		l.restores = make(map[wire.ID][]string)
	}
	l.restores[meshID] = append(l.restores[meshID], announcement)
	return nil
}

func (l *log) AuditPruned(_ context.Context, meshID wire.ID) (string, error) {
	return l.pruned[meshID], nil
}

func (l *log) PruneAudit(_ context.Context, meshID wire.ID, upTo int64, checkpoint string, limit int) (int, error) {
	l.pruned = map[wire.ID]string{meshID: checkpoint}
	n := 0
	for n < limit && n < len(l.entries[meshID]) && l.entries[meshID][n].Seq <= upTo {
		n++
	}
	l.entries[meshID] = l.entries[meshID][n:]
	return n, nil
}

func (l *log) AuditLogs(context.Context) (list []Log, err error) {
	for _, id := range l.meshes {
		list = append(list, Log{Mesh: id, Head: l.heads[id]})
	}
	return list, l.err
}

func (l *log) AuditHead(_ context.Context, meshID wire.ID) (Head, error) {
	return l.heads[meshID], l.err
}

func (l *log) AuditEntries(_ context.Context, meshID wire.ID, after int64, limit int) ([]Entry, error) {
	if l.onRead != nil {
		l.onRead(l)
	}
	var page []Entry
	for _, e := range l.entries[meshID] {
		if e.Seq > after && len(page) < limit {
			page = append(page, e)
		}
	}
	return page, nil
}

// TestHashIsAsDocumented computes the hash from the package comment alone.
func TestHashIsAsDocumented(t *testing.T) {
	t.Parallel()
	prev := Head{Seq: 6, Hash: Hash{7, 7, 7}}
	e, head := Extend(prev, Event{MeshID: testMesh, At: testTime, Kind: "k", Actor: "ac", Detail: `{"d":1}`})

	var want []byte
	want = append(want, 1)
	want = append(want, testMesh[:]...)
	want = append(want, 0, 0, 0, 0, 0, 0, 0, 7)
	want = binary.BigEndian.AppendUint64(want, uint64(testTime.UnixMilli()))
	want = append(want, "\x00\x00\x00\x01k\x00\x00\x00\x02ac\x00\x00\x00\x07{\"d\":1}"...)
	want = append(want, prev.Hash[:]...)
	if e.Hash != sha256.Sum256(want) {
		t.Errorf("hash %s differs from the documented one", e.Hash)
	}
	if e.Seq != 7 || e.Prev != prev.Hash || head != (Head{7, e.Hash}) {
		t.Errorf("entry %+v, head %+v do not continue %+v", e, head, prev)
	}
	if !e.At.Equal(testTime.Truncate(time.Millisecond)) {
		t.Errorf("at %s was not cut to the millisecond", e.At)
	}
}

func TestExtendAllocatesNothing(t *testing.T) {
	e := NewEvent(testMesh, testTime, Broker, RoutedDetail{Message: wire.ID{1}, Target: Group, Recipients: 3, Bytes: 99, Priority: wire.Now})
	var head Head
	if n := testing.AllocsPerRun(100, func() { _, head = Extend(head, e) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func TestIntactChains(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, verifyPage - 1, verifyPage, verifyPage + 1, 2*verifyPage + 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			entries, head := chain(testMesh, n)
			report, err := VerifyMesh(t.Context(), newLog(testMesh, entries, head), testMesh)
			if err != nil || report.MeshID != testMesh || report.Head != head || report.Restores != nil {
				t.Errorf("report %+v, error %v; want head %+v", report, err, head)
			}
		})
	}
}

// TestTampering tampers with a chain of ten entries in every way and checks which entry
// the error names.
func TestTampering(t *testing.T) {
	t.Parallel()
	rehash := func(e *Entry) { e.Hash = e.hash() }
	cases := []struct {
		name   string
		tamper func(l *log, e []Entry) []Entry
		seq    int64
		reason Reason
	}{
		{"mesh", func(_ *log, e []Entry) []Entry { e[4].MeshID = otherMesh; return e }, 5, Altered},
		{"mesh, hashed again", func(_ *log, e []Entry) []Entry { e[4].MeshID = otherMesh; rehash(&e[4]); return e }, 5, Altered},
		{"time", func(_ *log, e []Entry) []Entry { e[4].At = e[4].At.Add(time.Millisecond); return e }, 5, Altered},
		{"kind", func(_ *log, e []Entry) []Entry { e[4].Kind = PeerLeft; return e }, 5, Altered},
		{"actor", func(_ *log, e []Entry) []Entry { e[4].Actor = "x"; return e }, 5, Altered},
		{"detail", func(_ *log, e []Entry) []Entry { e[4].Detail += " "; return e }, 5, Altered},
		{"text moved between fields", func(_ *log, e []Entry) []Entry {
			e[4].Actor, e[4].Detail = e[4].Actor+e[4].Detail[:1], e[4].Detail[1:]
			return e
		}, 5, Altered},
		{"prev", func(_ *log, e []Entry) []Entry { e[4].Prev[31] ^= 1; return e }, 5, Altered},
		{"prev, hashed again", func(_ *log, e []Entry) []Entry { e[4].Prev[31] ^= 1; rehash(&e[4]); return e }, 5, Unlinked},
		{"hash", func(_ *log, e []Entry) []Entry { e[4].Hash[0] ^= 1; return e }, 5, Altered},
		{"number up", func(_ *log, e []Entry) []Entry { e[9].Seq = 12; return e }, 10, Missing},
		{"number down", func(_ *log, e []Entry) []Entry { e[4].Seq = 4; return e }, 4, OutOfOrder},
		{"detail, hashed again", func(_ *log, e []Entry) []Entry { e[4].Detail = "{}"; rehash(&e[4]); return e }, 6, Unlinked},
		{"last detail, hashed again", func(_ *log, e []Entry) []Entry { e[9].Detail = "{}"; rehash(&e[9]); return e }, 10, HeadAltered},
		{"first prev, hashed again", func(_ *log, e []Entry) []Entry { e[0].Prev[0] = 1; rehash(&e[0]); return e }, 1, Unlinked},

		{"first deleted", func(_ *log, e []Entry) []Entry { return e[1:] }, 1, Missing},
		{"middle deleted", func(_ *log, e []Entry) []Entry { return slices.Delete(e, 4, 5) }, 5, Missing},
		{"last deleted", func(_ *log, e []Entry) []Entry { return e[:9] }, 10, TailMissing},
		{"all deleted", func(_ *log, e []Entry) []Entry { return nil }, 1, TailMissing},
		{"middle deleted, later ones renumbered", func(_ *log, e []Entry) []Entry {
			e = slices.Delete(e, 4, 5)
			for i := 4; i < len(e); i++ {
				e[i].Seq--
				rehash(&e[i])
			}
			return e
		}, 5, Unlinked},
		{"two swapped", func(_ *log, e []Entry) []Entry { e[3], e[4] = e[4], e[3]; return e }, 4, Missing},
		{"two swapped and renumbered", func(_ *log, e []Entry) []Entry {
			e[3], e[4] = e[4], e[3]
			e[3].Seq, e[4].Seq = 4, 5
			return e
		}, 4, Altered},
		{"two swapped, renumbered, hashed again", func(_ *log, e []Entry) []Entry {
			e[3], e[4] = e[4], e[3]
			e[3].Seq, e[4].Seq = 4, 5
			rehash(&e[3])
			rehash(&e[4])
			return e
		}, 4, Unlinked},
		{"one inserted", func(_ *log, e []Entry) []Entry {
			extra, _ := Extend(Head{4, e[3].Hash}, Event{MeshID: testMesh, At: testTime, Kind: PeerLeft, Actor: Broker, Detail: "{}"})
			return slices.Insert(e, 4, extra)
		}, 5, OutOfOrder},
		{"one inserted, the rest renumbered", func(_ *log, e []Entry) []Entry {
			extra, _ := Extend(Head{4, e[3].Hash}, Event{MeshID: testMesh, At: testTime, Kind: PeerLeft, Actor: Broker, Detail: "{}"})
			e = slices.Insert(e, 4, extra)
			for i := 5; i < len(e); i++ {
				e[i].Seq++
			}
			return e
		}, 6, Altered},
		{"one appended", func(l *log, e []Entry) []Entry {
			extra, _ := Extend(l.heads[testMesh], Event{MeshID: testMesh, At: testTime, Kind: PeerLeft, Actor: Broker, Detail: "{}"})
			return append(e, extra)
		}, 11, BeyondHead},
		{"everything rewritten", func(_ *log, e []Entry) []Entry {
			var head Head
			for i := range e {
				e[i].Event.Actor = "x"
				e[i], head = Extend(head, e[i].Event)
			}
			return e
		}, 10, HeadAltered},
		{"head hash", func(l *log, e []Entry) []Entry { l.heads[testMesh] = Head{10, Hash{1}}; return e }, 10, HeadAltered},
		{"head forward", func(l *log, e []Entry) []Entry { l.heads[testMesh] = Head{12, Hash{1}}; return e }, 11, TailMissing},
		{"head back", func(l *log, e []Entry) []Entry { l.heads[testMesh] = Head{8, e[7].Hash}; return e }, 9, BeyondHead},
		{"head deleted", func(l *log, e []Entry) []Entry { delete(l.heads, testMesh); return e }, 1, BeyondHead},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			entries, head := chain(testMesh, 10)
			l := newLog(testMesh, entries, head)
			l.entries[testMesh] = c.tamper(l, entries)
			_, err := VerifyMesh(t.Context(), inOrderGiven{l}, testMesh)
			var bad *BadEntry
			if !errors.As(err, &bad) {
				t.Fatalf("not detected: %v", err)
			}
			if *bad != (BadEntry{testMesh, c.seq, c.reason}) {
				t.Errorf("%v; want entry %d: %s", err, c.seq, c.reason)
			}
			if !strings.Contains(err.Error(), fmt.Sprintf("entry %d ", c.seq)) {
				t.Errorf("error %q does not name entry %d", err, c.seq)
			}
		})
	}
}

// inOrderGiven returns all entries at once, whatever their numbers, like a database
// with a tampered index.
type inOrderGiven struct{ *log }

func (l inOrderGiven) AuditEntries(_ context.Context, meshID wire.ID, after int64, _ int) ([]Entry, error) {
	entries := l.entries[meshID]
	if after > 0 && (len(entries) == 0 || after >= entries[len(entries)-1].Seq) {
		return nil, nil
	}
	return entries, nil
}

func TestVerifyWhileEntriesAreAppended(t *testing.T) {
	t.Parallel()
	entries, head := chain(testMesh, verifyPage+5)
	l := newLog(testMesh, entries, head)
	reads := 0
	l.onRead = func(l *log) {
		if reads++; reads > 6 {
			return
		}
		e, next := Extend(l.heads[testMesh], NewEvent(testMesh, testTime, Broker, MeshCreatedDetail{Slug: "x"}))
		l.entries[testMesh], l.heads[testMesh] = append(l.entries[testMesh], e), next
	}
	report, err := VerifyMesh(t.Context(), l, testMesh)
	if err != nil || report.Head != l.heads[testMesh] {
		t.Errorf("report %+v, error %v; want head %+v", report, err, l.heads[testMesh])
	}
}

func TestVerifyAPart(t *testing.T) {
	t.Parallel()
	entries, head := chain(testMesh, 20)
	got, err := Verify(testMesh, Head{entries[7].Seq - 1, entries[7].Prev}, entries[7:])
	if err != nil || got != head {
		t.Errorf("head %+v, error %v; want %+v", got, err, head)
	}
}

func TestMeshesAreVerifiedApart(t *testing.T) {
	t.Parallel()
	third := wire.ID{7}
	l := newLog(testMesh, nil, Head{})
	l.meshes = []wire.ID{testMesh, otherMesh, third}
	for i, id := range l.meshes {
		l.entries[id], l.heads[id] = chain(id, 3+i)
	}
	for _, id := range l.meshes {
		if report, err := VerifyMesh(t.Context(), l, id); err != nil || report.MeshID != id {
			t.Errorf("%+v, error %v; want an intact chain", report, err)
		}
	}
	l.entries[otherMesh][1].Actor = "x"
	l.entries[third] = l.entries[third][:2]
	if _, err := VerifyMesh(t.Context(), l, testMesh); err != nil {
		t.Errorf("beside bad chains: %v", err)
	}
	var bad *BadEntry
	if _, err := VerifyMesh(t.Context(), l, otherMesh); !errors.As(err, &bad) || *bad != (BadEntry{otherMesh, 2, Altered}) {
		t.Errorf("a changed entry: %v", err)
	}
	if _, err := VerifyMesh(t.Context(), l, third); !errors.As(err, &bad) || !strings.Contains(err.Error(), third.String()) {
		t.Errorf("a chain without its end: %v", err)
	}
	l.err = errors.New("disk on fire")
	if _, err := VerifyMesh(t.Context(), l, testMesh); !errors.Is(err, l.err) {
		t.Errorf("storage failure came back as %v", err)
	}
}

// TestDetailsNeedNoEscape checks that no JSON encoder can change a detail on its way to
// a client.
func TestDetailsNeedNoEscape(t *testing.T) {
	t.Parallel()
	id, key := wire.ID{0xab}, wire.Key{0xcd}
	cases := []struct {
		kind   Kind
		detail Detail
		fields string
	}{
		{MeshCreated, MeshCreatedDetail{"a.b-c_d"}, "slug"},
		{MemberJoined, MemberJoinedDetail{id, key, "admin", id}, "member key role invite"},
		{MemberRemoved, MemberRemovedDetail{id, key}, "member key"},
		{MemberBanned, MemberBannedDetail{id, key}, "member key"},
		{MemberUnbanned, MemberUnbannedDetail{id, key}, "member key"},
		{PeerKicked, PeerKickedDetail{id, id, key}, "presence member key"},
		{RoleChanged, RoleChangedDetail{id, "member", "admin"}, "member from to"},
		{InviteCreated, InviteCreatedDetail{id, "link", "member", 3, 1234567890123}, "invite kind role uses expires_at"},
		{InviteRevoked, InviteRevokedDetail{id}, "invite"},
		{PeerJoined, PeerJoinedDetail{id, id, key}, "presence member key"},
		{PeerReturned, PeerReturnedDetail{id, id, key}, "presence member key"},
		{PeerLeft, PeerLeftDetail{id, id, key}, "presence member key"},
		{LogRestored, LogRestoredDetail{3, Hash{1}}, "size hash"},
		{Routed, RoutedDetail{id, Many, 3, 999, wire.Low}, "message target recipients bytes priority"},
	}
	for _, c := range cases {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			e := NewEvent(testMesh, testTime, Broker, c.detail)
			if e.Kind != c.kind {
				t.Errorf("kind %q, want %q", e.Kind, c.kind)
			}
			if strings.ContainsAny(e.Detail, "\\ <>&") {
				t.Errorf("detail %s has something to escape", e.Detail)
			}
			var fields map[string]any
			if err := json.Unmarshal([]byte(e.Detail), &fields); err != nil {
				t.Fatalf("detail %s: %v", e.Detail, err)
			}
			want := strings.Fields(c.fields)
			for _, name := range want {
				if _, ok := fields[name]; !ok {
					t.Errorf("detail %s lacks %s", e.Detail, name)
				}
			}
			if len(fields) != len(want) {
				t.Errorf("detail %s has other fields than %s", e.Detail, c.fields)
			}
		})
	}
}

// TestRoutedDetailIsJSON checks that RoutedDetail.text returns the same JSON as
// encoding/json.
func TestRoutedDetailIsJSON(t *testing.T) {
	t.Parallel()
	for _, target := range []Target{Direct, Group, Topic, All, Many} {
		for _, priority := range []wire.Priority{wire.Now, wire.Next, wire.Low} {
			d := RoutedDetail{Message: wire.ID{0xab, 15: 0x0c}, Target: target, Recipients: 12, Bytes: 1 << 40, Priority: priority}
			want, err := json.Marshal(d)
			if got := NewEvent(testMesh, testTime, Broker, d).Detail; err != nil || got != string(want) {
				t.Errorf("got %s, %v\nwant %s", got, err, want)
			}
		}
	}
}

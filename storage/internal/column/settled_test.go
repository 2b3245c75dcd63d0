package column

import (
	"reflect"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

func TestSettled(t *testing.T) {
	t.Parallel()
	mesh, key, at := wire.ID{1}, wire.Key{2}, time.UnixMilli(1_900_000_000_123).UTC()
	box := func(name string) queue.Mailbox { return queue.Mailbox{Mesh: mesh, Name: name} }
	session := string(presence.SessionIdentity(key))
	settled := []queue.Recipient{
		{Seq: 1, Mailbox: box(session), Key: key, Name: "Zoë", State: queue.Delivered, SettledAt: at},
		{Seq: 1 << 62, Mailbox: box("m/x"), Key: key, State: queue.Expired, SettledAt: time.UnixMilli(-5).UTC(), SameMember: true},
		{Seq: 300, Mailbox: box(session), Name: "no key", State: queue.Gone},
	}
	m := &queue.Accepted{Recipients: []queue.Recipient{{Seq: 7, Mailbox: box("s/waits"), Key: key}}}
	if b := Settled(m); b != nil {
		t.Errorf("of somebody who waits: %x", b)
	}
	m.Recipients = append(m.Recipients, settled...)
	packed := Settled(m)
	var got []queue.Recipient
	if err := scan(t, intoSettled(&got, &mesh), packed); err != nil || !reflect.DeepEqual(got, settled) {
		t.Errorf("came back as %+v, %v", got, err)
	}
	if err := scan(t, intoSettled(&got, &mesh), nil); err != nil || got != nil {
		t.Errorf("NULL is read as %+v, %v", got, err)
	}
	m.Recipients = []queue.Recipient{{Seq: 1, Mailbox: box("a\x00"), Name: "b\xff", State: queue.Delivered}}
	if err := scan(t, intoSettled(&got, &mesh), Settled(m)); err != nil || got[0].Mailbox.Name != "a\uFFFD" || got[0].Name != "b\uFFFD" {
		t.Errorf("awkward texts came back as %+v, %v", got, err)
	}
	if len(packed) > 180 {
		t.Errorf("three recipients take %d bytes", len(packed))
	}
	for n := range packed {
		if err := scan(t, intoSettled(&got, &mesh), packed[:n]); err == nil && (len(got) == 0 && n != 1 || len(got) == len(settled)) {
			t.Errorf("the first %d bytes of %d are read as %+v", n, len(packed), got)
		}
	}
	for _, bad := range []any{[]byte{}, []byte{settledVersion + 1}, "text", int64(1)} {
		if err := scan(t, intoSettled(&got, &mesh), bad); err == nil {
			t.Errorf("%v was read as %+v", bad, got)
		}
	}
}

func FuzzIntoSettled(f *testing.F) {
	f.Add(Settled(&queue.Accepted{Recipients: []queue.Recipient{{Seq: 1, Name: "x", Key: wire.Key{1}, State: queue.Delivered}}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		var got []queue.Recipient
		_ = intoSettled(&got, &wire.ID{}).Scan(in) // must not panic
	})
}

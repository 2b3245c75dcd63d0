package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// TestUnknownPreface checks that a preface that a node does not understand ends its stream, not the
// link.
func TestUnknownPreface(t *testing.T) {
	_, edge, owner, mesh := edgeAndOwner(t)
	client := edge.connect(t, mesh, "")
	socket := owner.next(t)
	edge.mu.Lock()
	l := edge.links[owner.ID]
	edge.mu.Unlock()
	if _, err := l.open(t.Context(), preface{Kind: "what a later version sends"}); !errors.Is(err, errBusy) {
		t.Errorf("open: %v", err)
	}
	session, _, _ := l.state()
	stream, err := session.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	send(t, stream, "\xff\xffgarbage")
	expectEnd(t, stream)
	_ = stream.Close()
	send(t, client, "fine")
	expect(t, socket, "fine")
}

func FuzzReadPreface(f *testing.F) {
	for _, p := range []preface{
		{Kind: kindSocket, Mesh: newMesh(), Client: netip.MustParseAddr("192.0.2.1"), Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{Kind: kindCall, Client: netip.MustParseAddr("2001:db8::1")},
		{Kind: kindLeave},
	} {
		var b bytes.Buffer
		if err := writePreface(&b, p); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("\x00\x02{}"))
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		p, err := readPreface(r)
		if read := len(data) - r.Len(); read > maxPreface+2 {
			t.Errorf("read %d bytes", read)
		}
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := writePreface(&b, p); err != nil {
			return // it grows beyond the limit, for example by escapes
		}
		again, err := readPreface(&b)
		if err != nil || again != p {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

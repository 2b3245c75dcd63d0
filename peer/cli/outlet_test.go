package cli

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// TestJSONForATerminal checks that text from peers reaches a terminal only in a safe form,
// also in JSON, and the values of the JSON stay the same.
func TestJSONForATerminal(t *testing.T) {
	t.Parallel()
	summary := "\u009b31mred \u202e \U000e0041 \ufe0f 👩‍💻"
	rows := []trustedRow{{PeerRow: wire.PeerRow{DisplayName: "bob\u200b", Summary: &summary, Cwd: "/\u2066", Hostname: "\ue000"}}}
	for name, print := range map[string]func(*app) error{
		"indented": func(a *app) error { return a.printJSON(rows) },
		"a line":   func(a *app) error { return a.printJSONLine(rows) },
	} {
		var out bytes.Buffer
		if err := print(&app{out: &out}); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if strings.ContainsAny(text, "\u009b\u200b\u202e\u2066\ue000\U000e0041") || !strings.Contains(text, `\u009b31mred`) || !strings.Contains(text, "👩‍💻") {
			t.Errorf("%s: %+q", name, text)
		}
		if name == "a line" && strings.Count(text, "\n") != 1 {
			t.Errorf("not on one line: %s", text)
		}
		var back []trustedRow
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back) != 1 || *back[0].Summary != summary || back[0].DisplayName != rows[0].DisplayName {
			t.Errorf("%s: read back as %+v, %v", name, back, err)
		}
	}
}

func FuzzOutlets(f *testing.F) {
	f.Add("bob\x1b[2J\ufe0f\u009b\r\n\xff👩‍💻")
	now := time.Now()
	f.Fuzz(func(t *testing.T, s string) {
		var out bytes.Buffer
		a := &app{out: &out, err: &out}
		for _, sealing := range []peer.Sealing{peer.Direct, peer.InMesh, peer.NotEncrypted, peer.Unopened} {
			out.WriteString(a.messageText(&inbox.Stored{From: s, Body: s, Doubt: s, Error: s, Sealing: sealing}, now) + "\n")
		}
		rows := []trustedRow{{PeerRow: wire.PeerRow{DisplayName: s, Summary: &s, Status: wire.Status(s), StatusReason: s, Hostname: s, Channel: s, Groups: []wire.Group{{Name: s}}}, Doubt: s}}
		if err := a.table(peerTable(rows, wire.Key{1})); err != nil {
			t.Fatal(err)
		}
		a.columns = 60
		if err := a.table(peerTable(rows, wire.Key{1}), "KEY"); err != nil {
			t.Fatal(err)
		}
		out.WriteString(promise(s, true, &wire.MessageStatusResult{Recipients: []wire.RecipientStatus{{Name: s}}}) + "\n")
		out.WriteString((&verification{name: s, own: s}).text(true))
		if got := out.String(); visible.Text(got, visible.People) != got {
			t.Fatalf("%+q", got)
		}
		out.Reset()
		if err := a.printJSON(rows); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); visible.Text(got, visible.People) != got {
			t.Fatalf("%+q", got)
		}
		var back, want any
		b, err := json.Marshal(rows)
		if err != nil || json.Unmarshal(b, &want) != nil || json.Unmarshal(out.Bytes(), &back) != nil || !reflect.DeepEqual(back, want) {
			t.Fatalf("%s is not %s", out.Bytes(), b)
		}
	})
}

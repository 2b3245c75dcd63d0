package audit

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// TestRowsSurviveJSON verifies a chain after a round trip through JSON.
func TestRowsSurviveJSON(t *testing.T) {
	t.Parallel()
	entries, head := chain(testMesh, 12)
	var got []Entry
	for _, e := range entries {
		text, err := json.Marshal(Row(e))
		if err != nil {
			t.Fatal(err)
		}
		var row wire.AuditRow
		if err := json.Unmarshal(text, &row); err != nil {
			t.Fatal(err)
		}
		back, err := FromRow(testMesh, row)
		if err != nil {
			t.Fatal(err)
		}
		if back != e {
			t.Fatalf("%+v became %+v", e, back)
		}
		got = append(got, back)
	}
	if end, err := Verify(testMesh, Head{}, got); err != nil || end != head {
		t.Errorf("head %+v, error %v; want %+v", end, err, head)
	}
}

// TestTamperedDetailStaysReadable checks that one bad row neither makes the whole
// answer unreadable nor passes verification.
func TestTamperedDetailStaysReadable(t *testing.T) {
	t.Parallel()
	for _, detail := range []string{"", "{", "not json", "{}}", "\xff", `"` + "\xff" + `"`} {
		entries, _ := chain(testMesh, 1)
		entries[0].Detail = detail
		text, err := json.Marshal(Row(entries[0]))
		if err != nil {
			t.Errorf("detail %q: %v", detail, err)
			continue
		}
		var row wire.AuditRow
		if err := json.Unmarshal(text, &row); err != nil {
			t.Errorf("detail %q: %v", detail, err)
			continue
		}
		e, err := FromRow(testMesh, row)
		if err != nil {
			t.Errorf("detail %q: %v", detail, err)
			continue
		}
		var bad *BadEntry
		if _, err := Verify(testMesh, Head{}, []Entry{e}); !errors.As(err, &bad) || bad.Reason != Altered {
			t.Errorf("detail %q: verified as %v", detail, err)
		}
	}
}

func TestFromRowRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		spoil func(*wire.AuditRow)
	}{
		{"seq 0", func(r *wire.AuditRow) { r.Seq = 0 }},
		{"negative seq", func(r *wire.AuditRow) { r.Seq = -1 }},
		{"no detail", func(r *wire.AuditRow) { r.Detail = nil }},
		{"detail not JSON", func(r *wire.AuditRow) { r.Detail = json.RawMessage("{") }},
		{"short prev", func(r *wire.AuditRow) { r.Prev = r.Prev[1:] }},
		{"no hash", func(r *wire.AuditRow) { r.Hash = "" }},
		{"upper-case hash", func(r *wire.AuditRow) { r.Hash = "AB" + r.Hash[2:] }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			entries, _ := chain(testMesh, 1)
			row := Row(entries[0])
			c.spoil(&row)
			if _, err := FromRow(testMesh, row); !errors.Is(err, ErrBadRow) {
				t.Errorf("error %v, want ErrBadRow", err)
			}
		})
	}
}

// FuzzFromRow checks that Row returns unchanged what FromRow accepts, and that no other
// entry passes for a genuine one.
func FuzzFromRow(f *testing.F) {
	entries, _ := chain(testMesh, 2)
	for _, e := range entries {
		r := Row(e)
		f.Add(r.Seq, r.At, r.Kind, r.Actor, []byte(r.Detail), r.Prev, r.Hash)
	}
	f.Add(int64(0), int64(-1), "", "", []byte("null"), "", "")
	genuine := entries[0]
	f.Fuzz(func(t *testing.T, seq, at int64, kind, actor string, detail []byte, prev, hash string) {
		row := wire.AuditRow{Seq: seq, At: at, Kind: kind, Actor: actor, Detail: detail, Prev: prev, Hash: hash}
		e, err := FromRow(testMesh, row)
		if err != nil {
			if !errors.Is(err, ErrBadRow) {
				t.Fatalf("got error %v", err)
			}
			return
		}
		back := Row(e)
		if back.Seq != seq || back.At != at || back.Kind != kind || back.Actor != actor ||
			string(back.Detail) != string(detail) || back.Prev != prev || back.Hash != hash {
			t.Fatalf("%+v became %+v", row, back)
		}
		if _, err := Verify(testMesh, Head{}, []Entry{e}); err == nil && e.Hash == genuine.Hash && e != genuine {
			t.Fatalf("%+v passes for %+v", e, genuine)
		}
	})
}

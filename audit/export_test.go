package audit

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// export returns the lines of an export: the notes first, the entries, the notes last.
func export(t testing.TB, first []string, entries []Entry, last ...string) string {
	t.Helper()
	var b bytes.Buffer
	x := NewExporter(&b)
	note := func(signed string) {
		if err := x.Checkpoint(testMesh, testKey(0).Verifier(testMesh), signed); err != nil {
			t.Fatal(err)
		}
	}
	for _, signed := range first {
		note(signed)
	}
	for _, e := range entries {
		if err := x.Entry(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, signed := range last {
		note(signed)
	}
	return b.String()
}

func TestVerifyExport(t *testing.T) {
	t.Parallel()
	at := func(h Head) string { return testKey(0).Checkpoint(testMesh, h) }
	kept := func(h Head) Kept { return Kept{Verifier: testKey(0).Verifier(testMesh), Checkpoint: at(h)} }
	entries, head := chain(testMesh, 12)
	rewritten := slices.Clone(entries)
	var h Head
	for i := range rewritten {
		if i == 4 {
			rewritten[i].Actor = "forged"
		}
		rewritten[i], h = Extend(h, rewritten[i].Event)
	}
	altered := slices.Clone(entries)
	altered[4].Actor = "forged"
	cases := []struct {
		name string
		kept Kept
		text string
		want ExportReport
		bad  error // a *BadEntry, or its kind
	}{
		{"whole", kept(headAt(10)), export(t, nil, entries, at(head)), ExportReport{First: 1, Head: head, Trusted: true, Signed: 12, KeptSize: 10}, nil},
		{"whole, its checkpoint first", kept(headAt(10)), export(t, []string{at(head)}, entries), ExportReport{First: 1, Head: head, Trusted: true, Signed: 12, KeptSize: 10}, nil},
		{"without checkpoints", kept(headAt(10)), export(t, nil, entries), ExportReport{First: 1, Head: head, Trusted: true, Signed: 10, KeptSize: 10}, nil},
		{"nothing kept", Kept{}, export(t, nil, entries, at(head)), ExportReport{First: 1, Head: head}, nil},
		{"nothing kept, no checkpoints", Kept{}, export(t, nil, entries), ExportReport{First: 1, Head: head}, nil},
		{"ends before the kept checkpoint", kept(head), export(t, nil, entries[:8], at(headAt(8))), ExportReport{First: 1, Head: headAt(8), Trusted: true, Signed: 8, KeptSize: 12}, nil},
		{"a part", kept(headAt(10)), export(t, nil, entries[6:]), ExportReport{First: 7, Head: head, Trusted: true, Signed: 10, KeptSize: 10}, nil},
		{"pruned", kept(headAt(10)), export(t, []string{at(headAt(6))}, entries[6:], at(head)), ExportReport{First: 7, Head: head, Trusted: true, Signed: 12, KeptSize: 10}, nil},
		{"no entries", kept(headAt(10)), export(t, []string{at(head)}, nil), ExportReport{Trusted: true, KeptSize: 10}, nil},

		{"rewritten", kept(headAt(10)), export(t, nil, rewritten), ExportReport{First: 1, KeptSize: 10, Trusted: true, Head: Head{10, rewritten[9].Hash}}, &ContradictionError{}},
		{"rewritten, with its own checkpoint", kept(headAt(10)), export(t, []string{at(headAt(10)), at(h)}, rewritten), ExportReport{First: 1, KeptSize: 10, Trusted: true, Head: Head{10, rewritten[9].Hash}}, &ContradictionError{}},
		{"two checkpoints of one size", kept(head), export(t, []string{at(h)}, entries), ExportReport{KeptSize: 12, Trusted: true}, &ContradictionError{}},
		{"altered", kept(headAt(10)), export(t, nil, altered), ExportReport{First: 1, KeptSize: 10, Trusted: true, Head: headAt(4)}, &BadEntry{testMesh, 5, Altered}},
		{"one missing", kept(headAt(10)), export(t, nil, slices.Delete(slices.Clone(entries), 4, 5)), ExportReport{First: 1, KeptSize: 10, Trusted: true, Head: headAt(4)}, &BadEntry{testMesh, 5, Missing}},
		{"the end missing", Kept{}, export(t, []string{at(head)}, entries[:9]), ExportReport{First: 1, Head: headAt(9)}, &BadEntry{testMesh, 10, TailMissing}},
		{"the end missing, its checkpoint last", Kept{}, export(t, nil, entries[:9], at(head)), ExportReport{First: 1, Head: headAt(9)}, &BadEntry{testMesh, 10, TailMissing}},
		{"pruned elsewhere", kept(headAt(10)), export(t, []string{at(fork(2, 6))}, entries[6:]), ExportReport{First: 7, KeptSize: 10, Trusted: true, Head: fork(2, 6)}, &BadEntry{testMesh, 7, Unlinked}},
		{"a checkpoint by another key", kept(headAt(10)), export(t, nil, entries, testKey(1).Checkpoint(testMesh, head)), ExportReport{First: 1, KeptSize: 10, Trusted: true, Signed: 10, Head: head}, ErrBadNote},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reports, err := VerifyExport(strings.NewReader(c.text), func(wire.ID) (Kept, error) { return c.kept, nil })
			if err != nil || len(reports) != 1 {
				t.Fatalf("got reports %v, error %v", reports, err)
			}
			got := *reports[0]
			var want, entry *BadEntry
			var contradiction *ContradictionError
			switch {
			case c.bad == nil:
				if got.Bad != nil {
					t.Errorf("got the error %v for an intact log", got.Bad)
				}
			case errors.As(c.bad, &want):
				if !errors.As(got.Bad, &entry) || *entry != *want {
					t.Errorf("%v; want %v", got.Bad, want)
				}
			case errors.As(c.bad, &contradiction):
				if !errors.As(got.Bad, &contradiction) || contradiction.Note == "" {
					t.Errorf("%v; want a contradiction", got.Bad)
				}
			default:
				if !errors.Is(got.Bad, c.bad) {
					t.Errorf("%v; want %v", got.Bad, c.bad)
				}
			}
			got.Bad, c.want.MeshID = nil, testMesh
			if got != c.want {
				t.Errorf("%+v; want %+v", got, c.want)
			}
		})
	}
}

func TestExportsThatAreNone(t *testing.T) {
	t.Parallel()
	entries, _ := chain(testMesh, 2)
	good := export(t, nil, entries)
	for _, text := range []string{
		"x\n", "{}\n", `{"type":"entry"}` + "\n", good + "[]\n", good + `{"type":"other","mesh":"01020300000000000000000000000000"}` + "\n",
		strings.Replace(good, `"time":"2026`, `"time":"yesterday`, 1), strings.Replace(good, `"seq":1`, `"seq":-1`, 1),
		strings.Replace(good, `"hash":"`, `"hash":"zz`, 1),
	} {
		if _, err := VerifyExport(strings.NewReader(text), func(wire.ID) (Kept, error) { return Kept{}, nil }); !errors.Is(err, ErrBadExport) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := VerifyExport(strings.NewReader(strings.Repeat("x", maxLine+1)), nil); err == nil {
		t.Error("a line that is too long was accepted")
	}
}

// FuzzVerifyExport checks that nothing but the entries that were signed agrees with a kept
// checkpoint.
func FuzzVerifyExport(f *testing.F) {
	entries, head := chain(testMesh, 3)
	kept := Kept{Verifier: testKey(0).Verifier(testMesh), Checkpoint: testKey(0).Checkpoint(testMesh, head)}
	f.Add(export(f, nil, entries, kept.Checkpoint))
	f.Add(export(f, []string{kept.Checkpoint}, entries[1:]))
	f.Add(export(f, nil, entries[:2]))
	f.Fuzz(func(t *testing.T, text string) {
		reports, err := VerifyExport(strings.NewReader(text), func(wire.ID) (Kept, error) { return kept, nil })
		if err != nil {
			return // not a line of an export, or from another mesh's log
		}
		for _, r := range reports {
			if r.Bad == nil && (r.Signed != 0 && r.Signed != 3 || r.Head.Seq == 3 && r.Head != head) {
				t.Fatalf("VerifyExport trusts %+v", r)
			}
		}
	})
}

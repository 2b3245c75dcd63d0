package wire

import (
	"reflect"
	"strings"
	"testing"
)

func TestCompactAttestation(t *testing.T) {
	t.Parallel()
	session, member := mustKey(t, keyA), mustKey(t, keyB)
	want := Attestation{keyA, keyB, 1_900_000_000_123, strings.Repeat("0f", 64)}
	compact := want.Compact()
	if len(compact) != CompactAttestationSize {
		t.Fatalf("got %d bytes", len(compact))
	}
	got, err := ExpandAttestation(session, member, compact)
	if err != nil || *got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	var none *Attestation
	if none.Compact() != nil || (&Attestation{Signature: "x"}).Compact() != nil {
		t.Error("a nil or malformed attestation has a compact form")
	}
	if got, err := ExpandAttestation(session, member, nil); got != nil || err != nil {
		t.Errorf("no bytes: got %+v, %v", got, err)
	}
	for _, n := range []int{1, CompactAttestationSize - 1, CompactAttestationSize + 1} {
		if got, err := ExpandAttestation(session, member, make([]byte, n)); err == nil {
			t.Errorf("%d bytes gave %+v", n, got)
		}
	}
}

func TestDecodeSuccessions(t *testing.T) {
	t.Parallel()
	entry := `{"sessionPubkey":"o","signature":"g"}`
	hello := func(succeeds string) SessionHello {
		return DecodeSessionHello(parse(t, `{"meshId":"m","parentMemberPubkey":"p","sessionPubkey":"s","signature":"g","timestamp":1,
			"sessionId":"x","pid":7,"cwd":"/","succeeds":`+succeeds+`}`))
	}
	for _, tc := range []struct {
		name, succeeds, malformed string
		n                         int
	}{
		{"absent", `null`, "", 0},
		{"none", `[]`, "", 0},
		{"one", `[` + entry + `]`, "", 1},
		{"maximum", `[` + strings.Repeat(entry+",", MaxSuccessions-1) + entry + `]`, "", MaxSuccessions},
		{"too many", `[` + strings.Repeat(entry+",", MaxSuccessions) + entry + `]`, "succeeds must be a list of at most 32", 0},
		{"not a list", entry, "succeeds must be a list", 0},
		{"not objects", `["o"]`, "succeeds must be a list of objects", 0},
		{"no signature", `[{"sessionPubkey":"o"}]`, "succeeds must be a list of valid objects: signature must be a string", 1},
	} {
		h, malformed := hello(tc.succeeds), ""
		if h.Malformed != nil {
			malformed = h.Malformed.Error()
		}
		if malformed != tc.malformed || len(h.Succeeds) != tc.n {
			t.Errorf("%s: %d entries, %q; want %d, %q", tc.name, len(h.Succeeds), malformed, tc.n, tc.malformed)
		}
		if malformed == "" && tc.n > 0 && h.Succeeds[tc.n-1] != (Succession{"o", "g"}) {
			t.Errorf("%s: got %+v", tc.name, h.Succeeds)
		}
	}
}

func pointerTo(s string) *string { return &s }

func TestDecodeSetStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in, err string
		want          SetStatus
	}{
		{"v1", `{"status":"dnd"}`, "", SetStatus{Status: DND}},
		{"hook", `{"status":"idle","source":"hook","reason":"waiting"}`, "", SetStatus{Status: Idle, Source: SourceHook, Reason: "waiting"}},
		{"set by a person with a reason", `{"status":"working","reason":"` + strings.Repeat("x", MaxReasonLen) + `"}`, "",
			SetStatus{Status: Working, Reason: strings.Repeat("x", MaxReasonLen)}},
		{"no status", `{"source":"hook"}`, "status must be a string", SetStatus{}},
		{"unknown status", `{"status":"away"}`, "status must be idle, working or dnd", SetStatus{}},
		{"unknown source", `{"status":"idle","source":"jsonl"}`, "source must be hook or absent", SetStatus{}},
		{"source a number", `{"status":"idle","source":1}`, "source must be a string", SetStatus{}},
		{"can't read", `{"status":"idle","cannotRead":"x"}`, "", SetStatus{Status: Idle, CannotRead: pointerTo("x")}},
		{"can read", `{"status":"idle","cannotRead":""}`, "", SetStatus{Status: Idle, CannotRead: pointerTo("")}},
		{"long cannotRead", `{"status":"idle","cannotRead":"` + strings.Repeat("x", MaxCannotReadLen+1) + `"}`, "cannotRead must be at most 128 bytes", SetStatus{}},
		{"long reason", `{"status":"idle","reason":"` + strings.Repeat("x", MaxReasonLen+1) + `"}`, "reason must be at most 64 bytes", SetStatus{}},
	} {
		got, err := DecodeSetStatus(parse(t, tc.in))
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tc.err || err == nil && !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, %q; want %+v, %q", tc.name, got, text, tc.want, tc.err)
		}
	}
}

package wire

import (
	"fmt"
	"strings"
	"testing"
)

const (
	keyA = "38bdc3372fe6d5d6b4576dfb5319e3e443abd8f66e1b8c36086bc32614f5aa3e"
	keyB = "3996c6bf340a860689bcb2a4787df732e6795d114fab274a8ae8f0f82a90274b"
)

func TestDecodeHello(t *testing.T) {
	t.Parallel()
	const good = `"meshId":"m","memberId":"b","pubkey":"k","signature":"s","timestamp":5,"sessionId":"x","pid":7,"cwd":"/"`
	without := func(field string) string {
		var kept []string
		for _, f := range strings.Split(good, ",") {
			if !strings.HasPrefix(f, `"`+field+`"`) {
				kept = append(kept, f)
			}
		}
		return strings.Join(kept, ",")
	}
	for _, tc := range []struct {
		name, in, malformed string
	}{
		{"good", good, ""},
		{"no sessionId", without("sessionId"), "sessionId must be a string"},
		{"no cwd", without("cwd"), "cwd must be a string"},
		{"no pid", without("pid"), "pid must be an integer"},
		{"pid null", without("pid") + `,"pid":null`, "pid must be an integer"},
		{"pid as string", without("pid") + `,"pid":"7"`, "pid must be an integer"},
		{"sessionId a number", without("sessionId") + `,"sessionId":1`, "sessionId must be a string"},
		{"no signature", without("signature"), "signature must be a string"},
		{"no timestamp", without("timestamp"), ""}, // refused later, with timestamp_skew
		{"timestamp a string", without("timestamp") + `,"timestamp":"5"`, ""},
		{"unknown field", good + `,"later":{"a":[1]}`, ""},
		{"all optional fields null", good + `,"displayName":null,"groups":null,"capabilities":null,"sessionPubkey":null`, ""},
		{"groups", good + `,"groups":[{"name":"a/b","role":"lead"},{"name":"c"}]`, ""},
		{"groups as strings", good + `,"groups":["a"]`, "groups must be a list of objects"},
		{"groups not a list", good + `,"groups":{}`, "groups must be a list"},
		{"group without a name", good + `,"groups":[{"role":"x"}]`, "groups must be a list of valid objects: name must be a string"},
		{"bad group name", good + `,"groups":[{"name":"a b"}]`, "groups must be a list of valid objects: name must be " + groupNameWant},
		{"too many groups", good + `,"groups":[` + strings.Repeat(`{"name":"a"},`, MaxGroups) + `{"name":"a"}]`, "groups must be a list of at most 64"},
		{"long displayName", good + `,"displayName":"` + strings.Repeat("x", MaxNameLen+1) + `"`, "displayName must be at most 128 bytes"},
		{"long sessionId", without("sessionId") + `,"sessionId":"` + strings.Repeat("x", MaxClientID+1) + `"`, "sessionId must be at most 128 bytes"},
		{"long cwd", without("cwd") + `,"cwd":"` + strings.Repeat("x", MaxTextLen+1) + `"`, "cwd must be at most 4096 bytes"},
		{"capabilities not strings", good + `,"capabilities":[1]`, "capabilities must be a list of strings"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := DecodeHello(parse(t, `{"type":"hello",`+tc.in+`}`))
			got := ""
			if h.Malformed != nil {
				got = h.Malformed.Error()
			}
			if got != tc.malformed {
				t.Errorf("got %q, want %q", got, tc.malformed)
			}
		})
	}
	h := DecodeHello(parse(t, `{`+good+`,"protocolVersion":2,"capabilities":["transient"],"groups":[{"name":"a","role":"r"}]}`))
	if h.MeshID != "m" || h.MemberID != "b" || h.Pubkey != "k" || h.Signature != "s" || h.Timestamp != 5 || h.SessionID != "x" ||
		h.PID != 7 || h.Cwd != "/" || h.ProtocolVersion != "2" || !h.Has(CapTransient) || h.Has(CapCaughtUp) || h.Groups[0] != (Group{"a", "r"}) {
		t.Errorf("got %+v", h)
	}
	if h := DecodeHello(parse(t, `{`+without("timestamp")+`,"timestamp":"5"}`)); h.Timestamp != 0 {
		t.Errorf("mistyped timestamp gave %d", h.Timestamp)
	}
}

func TestDecodeSessionHello(t *testing.T) {
	t.Parallel()
	h := DecodeSessionHello(parse(t, `{"meshId":"m","parentMemberPubkey":"p","sessionPubkey":"s","signature":"g","timestamp":1e3,"sessionId":"x","pid":7,"cwd":"/",
		"parentAttestation":{"sessionPubkey":"s","parentMemberPubkey":"p","expiresAt":9,"signature":"w"},"protocolVersion":"1.2","role":"lead"}`))
	if h.Malformed != nil {
		t.Fatal(h.Malformed)
	}
	if want := (Attestation{"s", "p", 9, "w"}); h.Attestation != want || h.Timestamp != 1000 || h.ProtocolVersion != "1.2" || h.Role != "lead" || h.ParentMemberID != "" {
		t.Errorf("got %+v", h)
	}
	for _, attestation := range []string{`null`, `{}`, `{"sessionPubkey":1,"expiresAt":"9"}`} {
		h := DecodeSessionHello(parse(t, `{"parentAttestation":`+attestation+`}`))
		if h.Attestation != (Attestation{}) {
			t.Errorf("%s gave %+v", attestation, h.Attestation)
		}
	}
	if h := DecodeSessionHello(parse(t, `{"parentAttestation":7}`)); h.Malformed == nil {
		t.Error("an attestation that isn't an object passed")
	}
}

func TestDecodeSend(t *testing.T) {
	t.Parallel()
	frame := func(target, priority, nonce, ciphertext, more string) string {
		return fmt.Sprintf(`{"type":"send","id":"i","targetSpec":%s,"priority":%s,"nonce":%s,"ciphertext":%s%s}`, target, priority, nonce, ciphertext, more)
	}
	good := `"` + keyA + `"`
	for _, tc := range []struct {
		name, in, err string
	}{
		{"direct", frame(good, `"now"`, `"AA=="`, `"AAAA"`, ``), ""},
		{"empty body", frame(good, `"now"`, `""`, `""`, ``), ""},
		{"everybody", frame(`"*"`, `"next"`, `"AA=="`, `"AAA="`, ``), ""},
		{"several", frame(`["@a", "@all" , "#t"]`, `"low"`, `"AA=="`, `"AAA="`, ``), ""},
		{"unknown fields", frame(good, `"now"`, `"AA=="`, `"AAAA"`, `,"x":[]`), ""},
		{"no target", frame(`null`, `"now"`, `""`, `""`, ``), "targetSpec must be a string or a list of strings"},
		{"empty list", frame(`[]`, `"now"`, `""`, `""`, ``), "targetSpec must be at least one target"},
		{"list with a number", frame(`[1]`, `"now"`, `""`, `""`, ``), "targetSpec must be a list of strings"},
		{"target a number", frame(`7`, `"now"`, `""`, `""`, ``), "targetSpec must be a string or a list of strings"},
		{"target a name", frame(`"bob"`, `"now"`, `""`, `""`, ``), "targetSpec must be " + errTarget.Error()},
		{"upper-case key", frame(`"`+strings.ToUpper(keyA)+`"`, `"now"`, `""`, `""`, ``), "targetSpec must be " + errTarget.Error()},
		{"too many targets", frame(`["*"`+strings.Repeat(`,"*"`, MaxTargets)+`]`, `"now"`, `""`, `""`, ``), "targetSpec must be at most 256 strings"},
		{"no priority", `{"targetSpec":"*","nonce":"","ciphertext":""}`, "priority must be a string"},
		{"bad priority", frame(good, `"urgent"`, `""`, `""`, ``), "priority must be now, next or low"},
		{"priority a number", frame(good, `1`, `""`, `""`, ``), "priority must be a string"},
		{"no nonce", `{"targetSpec":"*","priority":"now","ciphertext":""}`, "nonce must be a string"},
		{"no ciphertext", `{"targetSpec":"*","priority":"now","nonce":""}`, "ciphertext must be a string"},
		{"nonce not base64", frame(good, `"now"`, `"?"`, `""`, ``), "nonce must be standard base64 with padding"},
		{"base64url", frame(good, `"now"`, `""`, `"-_=="`, ``), "ciphertext must be standard base64 with padding"},
		{"no padding", frame(good, `"now"`, `""`, `"AA"`, ``), "ciphertext must be standard base64 with padding"},
		{"id a number", `{"id":1,"targetSpec":"*","priority":"now","nonce":"","ciphertext":""}`, "id must be a string"},
		{"long client id", frame(good, `"now"`, `""`, `""`, `,"client_message_id":"`+strings.Repeat("x", 129)+`"`), "client_message_id must be at most 128 bytes"},
		{"mentions", frame(good, `"now"`, `""`, `""`, `,"mentions":["a"]`), ""},
		{"too many mentions", frame(good, `"now"`, `""`, `""`, `,"mentions":[`+strings.Repeat(`"a",`, 16)+`"a"]`), "mentions must be at most 16 strings"},
		{"long mention", frame(good, `"now"`, `""`, `""`, `,"mentions":["`+strings.Repeat("x", 129)+`"]`), "mentions must be strings of at most 128 bytes"},
		{"bodyVersion a string", frame(good, `"now"`, `""`, `""`, `,"bodyVersion":"2"`), "bodyVersion must be an integer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodeSend(parse(t, tc.in))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tc.err {
				t.Errorf("got %q, want %q", got, tc.err)
			}
		})
	}
}

func TestDecodeSendKeepsTheIDOnError(t *testing.T) {
	t.Parallel()
	m, err := DecodeSend(parse(t, `{"id":"i","targetSpec":7,"priority":1}`))
	if err == nil || m.ID != "i" {
		t.Errorf("got %q, %v", m.ID, err)
	}
	m, err = DecodeSend(parse(t, `{"targetSpec":[ "*" , "@g" ],"priority":"now","nonce":"AAAA","ciphertext":"AAAAAAAA","keyEpoch":1,"bodyVersion":2}`))
	if err != nil || m.TargetSpec != `["*","@g"]` || m.Size() != 4+8+len(m.TargetSpec) || m.KeyEpoch != 1 || m.BodyVersion != 2 {
		t.Errorf("got %+v, %v", m, err)
	}
	if len(m.Targets) != 2 || m.Targets[0].Kind != TargetAll || m.Targets[1] != (Target{Kind: TargetGroup, Name: "g"}) {
		t.Errorf("targets %+v", m.Targets)
	}
}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	key, err := ParseKey(keyA)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		in   string
		ok   bool
		want Target
	}{
		{"*", true, Target{Kind: TargetAll}},
		{"@all", true, Target{Kind: TargetAll}},
		{"@a/b", true, Target{Kind: TargetGroup, Name: "a/b"}},
		{"#topic", true, Target{Kind: TargetTopic, Name: "topic"}},
		{keyA, true, Target{Kind: TargetKey, Key: key}},
		{"", false, Target{}}, {"@", false, Target{}}, {"#", false, Target{}}, {"**", false, Target{}}, {"@a b", false, Target{}},
		{"@a//b", false, Target{}}, {"@/a", false, Target{}}, {"@a/", false, Target{}}, {"@@a", false, Target{}},
		{"@" + strings.Repeat("x", 129), false, Target{}}, {"#" + strings.Repeat("x", 128), false, Target{}},
		{strings.Repeat("0", 64), false, Target{}}, {keyA[:63], false, Target{}}, {keyA + "0", false, Target{}},
	} {
		got, err := ParseTarget(tc.in)
		if (err == nil) != tc.ok || got != tc.want {
			t.Errorf("%q: got %+v, %v", tc.in, got, err)
		}
	}
}

func TestIsBase64(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		"": true, "AAAA": true, "AAA=": true, "AA==": true, "+/+/": true, "AAAAAA==": true,
		"A": false, "AA": false, "AAA": false, "A===": false, "====": false, "AA=A": false, "=AAA": false, "AAAA====": false,
		"AAAA=": false, "-_AA": false, "AA\n=": false, "AAA ": false, "ÄÄ": false,
	} {
		if got := isBase64(in); got != want {
			t.Errorf("%q: got %v", in, got)
		}
	}
}

func TestDecodeSmallMessages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in string
		ok       bool
	}{
		{"C set_status", `{"status":"dnd"}`, true},
		{"C set_status", `{"status":"away"}`, false},
		{"C set_status", `{}`, false},
		{"C set_status", `{"status":"idle","cannotRead":""}`, true},
		{"C set_status", `{"status":"idle","cannotRead":"hooks are off on that machine"}`, true},
		{"C set_status", `{"status":"idle","cannotRead":true}`, false},
		{"C set_summary", `{"summary":"x"}`, true},
		{"C set_summary", `{}`, true},
		{"C set_summary", `{"summary":["x"]}`, false},
		{"C set_summary", `{"summary":"` + strings.Repeat("x", 4097) + `"}`, false},
		{"C set_stats", `{"stats":{"a":1}}`, true},
		{"C set_stats", `{"stats":[1]}`, false},
		{"C set_stats", `{"stats":{"a":"` + strings.Repeat("x", 4096) + `"}}`, false},
		{"C set_visible", `{"visible":false}`, true},
		{"C set_visible", `{}`, false},
		{"C set_visible", `{"visible":0}`, false},
		{"C set_profile", `{"title":"x","capabilities":["a"]}`, true},
		{"C set_profile", `{"title":7}`, false},
		{"C set_profile", `{"capabilities":["` + strings.Repeat("a", MaxTextLen/2) + `","` + strings.Repeat("b", MaxTextLen/2) + `"]}`, true},
		{"C set_profile", `{"capabilities":["` + strings.Repeat("a", MaxTextLen/2) + `","` + strings.Repeat("b", MaxTextLen/2+1) + `"]}`, false},
		{"C join_group", `{"name":"a","role":"lead"}`, true},
		{"C join_group", `{"name":"@a"}`, false},
		{"C join_group", `{}`, false},
		{"C leave_group", `{"name":"a"}`, true},
		{"C leave_group", `{}`, false},
		{"C client_ack", `{}`, true},
		{"C client_ack", `{"clientMessageId":1}`, false},
		{"C client_ack", `{"brokerMessageId":"` + strings.Repeat("x", 129) + `"}`, false},
		{"C message_status", `{"messageId":"x"}`, true},
		{"C message_status", `{}`, false},
		{"C invite_create", `{"role":"member","uses":1,"expiresAt":5,"groups":[{"name":"a"}]}`, true},
		{"C invite_create", `{"role":"member","uses":"1"}`, false},
		{"C invite_create", `{"role":"member","groups":[{"name":" "}]}`, false},
		{"C invite_create", `{"role":"member","sealedRootKey":"` + strings.Repeat("x", 2049) + `"}`, false},
		{"C invite_create", `{}`, false},
		{"C invite_revoke", `{"inviteId":7}`, false},
		{"C member_set_role", `{"pubkey":"k","role":"admin"}`, true},
		{"C member_set_role", `{"pubkey":"k"}`, false},
		{"C member_remove", `{}`, false},
		{"C grant_set", `{"pubkey":"k","capabilities":["dm"]}`, true},
		{"C grant_set", `{"pubkey":"k","capabilities":"dm"}`, false},
		{"C audit_query", `{}`, true},
		{"C audit_query", `{"after":5,"limit":500}`, true},
		{"C audit_query", `{"limit":501}`, false},
		{"C audit_query", `{"last":501}`, false},
		{"C audit_query", `{"after":-1}`, false},
		{"C audit_query", `{"after":"1"}`, false},
	} {
		if err := decoders[tc.name](parse(t, tc.in)); (err == nil) != tc.ok {
			t.Errorf("%s %.60s: got %v", tc.name, tc.in, err)
		}
	}
}

func TestGrantSetTellsBlockedFromDefault(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		`{"pubkey":"k"}`: true, `{"pubkey":"k","capabilities":null}`: true, `{"pubkey":"k","capabilities":[]}`: false,
	} {
		m, err := DecodeGrantSet(parse(t, in))
		if err != nil || m.Default != want || len(m.Capabilities) != 0 {
			t.Errorf("%s: got %+v, %v", in, m, err)
		}
	}
}

// TestStatsAreUTF8 checks the only part of a client's message that others get unparsed.
func TestStatsAreUTF8(t *testing.T) {
	t.Parallel()
	for _, stats := range []string{"{\"a\":\"\xff\"}", "{\"\xc3\":1}", "{\"a\":[{\"b\":\"\xed\xa0\x80\"}]}"} {
		if m, err := DecodeSetStats(parse(t, `{"type":"set_stats","stats":`+stats+`}`)); err == nil {
			t.Errorf("%q became the stats %q, which can't be in a text frame", stats, m.Stats)
		}
	}
	const fine = `{"é":"\ud800","n":1e400}`
	if m, err := DecodeSetStats(parse(t, `{"type":"set_stats","stats":`+fine+`}`)); err != nil || string(m.Stats) != fine {
		t.Errorf("got the stats %q and the error %v, want %q", m.Stats, err, fine)
	}
}

package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func mustKey(t testing.TB, s string) Key {
	t.Helper()
	k, err := ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestPushRoundTrip(t *testing.T) {
	t.Parallel()
	var ids IDSource
	at := time.Date(2026, 11, 23, 18, 59, 23, 351e6, time.UTC)
	minimal := Push{MessageID: "m", MeshID: ids.New(at), SenderPubkey: mustKey(t, keyA), Priority: Now, CreatedAt: at}
	full := minimal
	full.SenderMemberPubkey, full.SenderMemberID, full.SenderName = mustKey(t, keyB), ids.New(at), "Al\"ice\n\u2028é"
	full.Nonce, full.Ciphertext, full.ClientID, full.Fingerprint = "AA==", "AAAA", "c", "f"
	full.Topic, full.ReplyTo, full.Mentions, full.BodyVersion, full.KeyEpoch = "t", "r", []string{"a", "b\\"}, 2, 1
	full.TargetSpec = `["@ops","*"]`
	full.SenderAttestation = &Attestation{keyA, keyB, 1_900_000_000_123, strings.Repeat("0f", 64)}
	for name, p := range map[string]Push{"minimal": minimal, "full": full} {
		text := p.AppendJSON([]byte("kept"))[4:]
		if !json.Valid(text) {
			t.Fatalf("%s: no JSON: %s", name, text)
		}
		frame := parse(t, string(text))
		got, err := DecodePush(frame)
		if err != nil || !reflect.DeepEqual(got, p) || frame.Type != TypePush || frame.Subtype() != "" {
			t.Errorf("%s: got %+v, %v\nwant %+v", name, got, err, p)
		}
	}
}

// TestAppendJSONMatchesEncodingJSON checks that the Append methods write the same JSON as
// encoding/json.
func TestAppendJSONMatchesEncodingJSON(t *testing.T) {
	t.Parallel()
	key := mustKey(t, keyA)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.FixedZone("", 3600))
	p := Push{MessageID: "m", SenderPubkey: key, Priority: Low, Nonce: "AA==", Ciphertext: "<&>", CreatedAt: at, Mentions: []string{"x"}, BodyVersion: 2, SenderName: "\x7f\u202e\x01"}
	attested := Push{MessageID: "m", SenderPubkey: key, Priority: Now, CreatedAt: at, SenderAttestation: &Attestation{keyA, keyB, -5, "<\""}}
	a := Ack{ID: "i<", MessageID: "m", Queued: true, ReqID: "r"}
	refused := Ack{Error: "invalid: \"x\""}
	for _, tc := range []struct {
		name string
		got  []byte
		want any
	}{
		{"push", p.AppendJSON(nil), map[string]any{
			"type": "push", "messageId": "m", "meshId": "", "senderPubkey": keyA, "priority": "low", "nonce": "AA==", "ciphertext": "<&>",
			"createdAt": "2026-01-02T02:04:05.006Z", "mentions": []any{"x"}, "bodyVersion": 2, "senderName": "\x7f\u202e\x01",
		}},
		{"attested push", attested.AppendJSON(nil), map[string]any{
			"type": "push", "messageId": "m", "meshId": "", "senderPubkey": keyA, "priority": "now", "nonce": "", "ciphertext": "",
			"createdAt": "2026-01-02T02:04:05.006Z", "senderAttestation": attested.SenderAttestation,
		}},
		{"ack", a.AppendJSON(nil), map[string]any{"type": "ack", "id": "i<", "messageId": "m", "queued": true, "_reqId": "r"}},
		{"refusal", refused.AppendJSON(nil), map[string]any{"type": "ack", "id": "", "messageId": "", "queued": false, "error": "invalid: \"x\""}},
	} {
		var got any
		if err := json.Unmarshal(tc.got, &got); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		text, err := json.Marshal(tc.want)
		if err != nil {
			t.Fatal(err)
		}
		var want any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %s, want %s", tc.name, tc.got, text)
		}
	}
}

func TestAckRoundTrip(t *testing.T) {
	t.Parallel()
	for _, a := range []Ack{{}, {ID: "i", MessageID: "m", Queued: true}, {ID: "\"", Error: "rate_limit: slow down", ReqID: "r"},
		{ID: "i", MessageID: "m", Queued: true, Repeated: true, MoreUnopened: 3, Unopened: []Unopened{
			{Pubkey: Key{1}, MemberPubkey: Key{2}, Name: "\"bob"},
			{Pubkey: Key{3}, MemberPubkey: Key{4}, Attestation: &Attestation{"s", "p", 5, "g"}},
		}}} {
		got, err := DecodeAck(parse(t, string(a.AppendJSON(nil))))
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("got %+v, %v, want %+v", got, err, a)
		}
	}
	for _, bad := range []string{`{"id":1}`, `{"queued":"true"}`, `{"error":{}}`} {
		if _, err := DecodeAck(parse(t, bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestDecodePushIsStrict(t *testing.T) {
	t.Parallel()
	good := map[string]any{
		"messageId": "m", "meshId": "GnFZjEOtETiraBTVeydGei4i1LllquOI", "senderPubkey": keyA, "priority": "next", "nonce": "AA==", "ciphertext": "",
		"createdAt": "2026-11-23T18:59:23.351Z",
	}
	for _, tc := range []struct {
		name, field string
		value       any
		ok          bool
	}{
		{"good", "x", nil, true},
		{"v1 mesh id", "meshId", "GnFZjEOtETiraBTVeydGei4i1LllquOI", true},
		{"no sender member", "senderMemberPubkey", nil, true},
		{"no message id", "messageId", nil, false},
		{"mesh id too long", "meshId", strings.Repeat("x", 33), false},
		{"no sender", "senderPubkey", nil, false},
		{"sender no key", "senderPubkey", "system", false},
		{"sender member no key", "senderMemberPubkey", "x", false},
		{"bad priority", "priority", "urgent", false},
		{"nonce no base64", "nonce", "?", false},
		{"no ciphertext", "ciphertext", nil, false},
		{"no time", "createdAt", nil, false},
		{"time a number", "createdAt", 5, false},
		{"bad time", "createdAt", "yesterday", false},
		{"time with a zone", "createdAt", "2026-11-23T20:59:23+02:00", true},
		{"client id a number", "client_message_id", 5, false},
		{"body version a string", "bodyVersion", "2", false},
	} {
		frame := map[string]any{"type": "push"}
		for k, v := range good {
			frame[k] = v
		}
		frame[tc.field] = tc.value
		text, err := json.Marshal(frame)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodePush(parse(t, string(text))); (err == nil) != tc.ok {
			t.Errorf("%s: got %v", tc.name, err)
		}
	}
}

func TestSystemPushRoundTrip(t *testing.T) {
	t.Parallel()
	var ids IDSource
	seen := Time{time.Date(2026, 11, 23, 18, 59, 18, 437e6, time.UTC)}
	want := SystemPush{
		Type: TypePush, Subtype: SubtypeSystem, Event: EventPeerReturned, MessageID: "u", MeshID: ids.New(seen.Time), SenderPubkey: "system",
		Priority: Low, CreatedAt: seen,
		EventData: EventData{Name: "bob", Pubkey: mustKey(t, keyA), Groups: &[]Group{{"a", "r"}}, LastSeenAt: &seen, Summary: "s"},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	frame := parse(t, string(text))
	got, err := DecodeSystemPush(frame)
	if err != nil || !reflect.DeepEqual(got, want) || frame.Subtype() != SubtypeSystem {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{
		`{"subtype":"other","event":"e","messageId":"m","createdAt":"2026-11-23T18:59:23Z"}`,
		`{"subtype":"system","messageId":"m","createdAt":"2026-11-23T18:59:23Z"}`,
		`{"subtype":"system","event":"e","messageId":"m","createdAt":"2026-11-23T18:59:23Z","eventData":{"pubkey":"x"}}`,
	} {
		if _, err := DecodeSystemPush(parse(t, bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestHelloAckRoundTrip(t *testing.T) {
	t.Parallel()
	var ids IDSource
	at := Time{time.Date(2026, 11, 23, 18, 59, 18, 437e6, time.UTC)}
	role := "lead"
	want := HelloAck{
		Type: TypeHelloAck, PresenceID: ids.New(at.Time), MemberDisplayName: "bob",
		MemberProfile: MemberProfile{RoleTag: &role, Groups: []Group{{"a", ""}}, MessageMode: "push"},
		MeshPolicy:    MeshPolicy{SelfEditable{Groups: true}}, Services: &[]string{},
		Restored: true, LastSummary: "s", LastSeenAt: &at, RestoredGroups: []Group{{"b", "c"}}, RestoredStats: json.RawMessage(`{"a":1}`),
		Capabilities: []string{CapCaughtUp}, ServerTime: at,
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeHelloAck(parse(t, string(text)))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	for _, bad := range []string{`{"memberProfile":1}`, `{"capabilities":"x"}`, `{"serverTime":1}`, `{"restored":1}`, `{"lastSeenAt":"x"}`} {
		if _, err := DecodeHelloAck(parse(t, bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestTimeJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		ok   bool
		want string
	}{
		{`"2026-11-23T18:59:18.437Z"`, true, `"2026-11-23T18:59:18.437Z"`},
		{`"2026-11-23T18:59:18Z"`, true, `"2026-11-23T18:59:18.000Z"`},
		{`"2026-11-23T18:59:18.4379+01:00"`, true, `"2026-11-23T17:59:18.437Z"`},
		{`null`, true, `"0001-01-01T00:00:00.000Z"`},
		{`5`, false, ""}, {`""`, false, ""}, {`"2026-11-23"`, false, ""}, {`{}`, false, ""},
	} {
		var at Time
		err := json.Unmarshal([]byte(tc.in), &at)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.in, err)
		}
		if err != nil {
			continue
		}
		if out, err := json.Marshal(at); err != nil || string(out) != tc.want {
			t.Errorf("%s: got %s, %v, want %s", tc.in, out, err, tc.want)
		}
	}
}

func FuzzPush(f *testing.F) {
	f.Add("m", "Alice", "AA==", "AAAA", "c", int64(1795460363351), int64(2))
	f.Add("\xff", "\u2028\"\\", "", "", "", int64(-1), int64(0))
	f.Fuzz(func(t *testing.T, id, name, nonce, ciphertext, client string, at, version int64) {
		if !isBase64(nonce) || !isBase64(ciphertext) || at < 0 || at > 253402300799999 {
			return // not a valid push
		}
		p := Push{MessageID: id, SenderPubkey: Key{1}, SenderName: name, Priority: Now, Nonce: nonce, Ciphertext: ciphertext,
			CreatedAt: time.UnixMilli(at).UTC(), ClientID: client, BodyVersion: version}
		text := p.AppendJSON(nil)
		frame, err := ParseFrame(text)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		got, err := DecodePush(&frame)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if utf8.ValidString(id) && utf8.ValidString(name) && utf8.ValidString(client) {
			if !reflect.DeepEqual(got, p) {
				t.Fatalf("got %+v, want %+v", got, p)
			}
		} else if again := got.AppendJSON(nil); !bytes.Equal(again, text) {
			t.Fatalf("invalid UTF-8 is not replaced once: %s, %s", text, again)
		}
	})
}

package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

func parse(t testing.TB, text string) *Frame {
	t.Helper()
	f, err := ParseFrame([]byte(text))
	if err != nil {
		t.Fatalf("ParseFrame(%.80s): %v", text, err)
	}
	return &f
}

func TestParseFrame(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in   string
		ok         bool
		typ, reqID string
	}{
		{"empty object", `{}`, true, "", ""},
		{"white space around", " \n\t{ \"type\" : \"ack\" } \r\n", true, "ack", ""},
		{"request id", `{"_reqId":"r-1","type":"x"}`, true, "x", "r-1"},
		{"escaped name", `{"\u0074ype":"x"}`, true, "x", ""},
		{"type null", `{"type":null}`, true, "", ""},
		{"type a number", `{"type":1,"_reqId":2}`, true, "", ""},
		{"nested values", `{"a":[1,{"b":null}],"type":"x"}`, true, "x", ""},
		{"unpaired surrogate", `{"type":"\ud800"}`, true, "\uFFFD", ""},
		{"invalid UTF-8", "{\"type\":\"a\xffb\"}", true, "a\uFFFDb", ""},
		{"deep nesting", `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, true, "", ""},
		{"nothing", ``, false, "", ""},
		{"null", `null`, false, "", ""},
		{"array", `[{"type":"x"}]`, false, "", ""},
		{"string", `"x"`, false, "", ""},
		{"text after it", `{"type":"x"} x`, false, "", ""},
		{"second object", `{"type":"x"}{}`, false, "", ""},
		{"truncated", `{"type":"x"`, false, "", ""},
		{"truncated after a name", `{"type"`, false, "", ""},
		{"trailing comma", `{"type":"x",}`, false, "", ""},
		{"single quotes", `{'type':'x'}`, false, "", ""},
		{"comment", `{"type":"x"/**/}`, false, "", ""},
		{"duplicate name", `{"type":"x","type":"y"}`, false, "", ""},
		{"duplicate name with an escape", `{"type":"x","\u0074ype":"y"}`, false, "", ""},
		{"duplicate name in a nested object", `{"a":{"b":1,"b":2}}`, false, "", ""},
		{"control character", "{\"type\":\"a\nb\"}", false, "", ""},
		{"not a JSON number", `{"a":01}`, false, "", ""},
		{"NaN", `{"a":NaN}`, false, "", ""},
		{"nested too deep", `{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, false, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f, err := ParseFrame([]byte(tc.in))
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrMalformed) {
				t.Fatalf("got error %v, want ok %v", err, tc.ok)
			}
			if f.Type != tc.typ || f.ReqID != tc.reqID {
				t.Errorf("got type %q, request %q, want %q, %q", f.Type, f.ReqID, tc.typ, tc.reqID)
			}
		})
	}
}

func TestFieldKinds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in string
		read     func(*fields) any
		want     any
		wantErr  string // "" for none
	}{
		{"string", `{"v":"a\"b"}`, func(f *fields) any { return f.str("v") }, `a"b`, ""},
		{"string absent", `{}`, func(f *fields) any { return f.str("v") }, "", ""},
		{"string null", `{"v":null}`, func(f *fields) any { return f.str("v") }, "", ""},
		{"string is a number", `{"v":1}`, func(f *fields) any { return f.str("v") }, "", "v must be a string"},
		{"required string absent", `{}`, func(f *fields) any { return f.need("v") }, "", "v must be a string"},
		{"required string null", `{"v":null}`, func(f *fields) any { return f.need("v") }, "", "v must be a string"},
		{"required string empty", `{"v":""}`, func(f *fields) any { return f.need("v") }, "", ""},
		{"bounded", `{"v":"1234"}`, func(f *fields) any { return f.bounded("v", 4) }, "1234", ""},
		{"bounded, too long", `{"v":"12345"}`, func(f *fields) any { return f.bounded("v", 4) }, "", "v must be at most 4 bytes"},
		{"integer", `{"v":-7}`, func(f *fields) any { n, ok := f.integer("v"); return []any{n, ok} }, []any{int64(-7), true}, ""},
		{"integer with exponent", `{"v":1.5e3}`, func(f *fields) any { n, _ := f.integer("v"); return n }, int64(1500), ""},
		{"integer with zero fraction", `{"v":2.0}`, func(f *fields) any { n, _ := f.integer("v"); return n }, int64(2), ""},
		{"integer absent", `{}`, func(f *fields) any { _, ok := f.integer("v"); return ok }, false, ""},
		{"integer with fraction", `{"v":1.5}`, func(f *fields) any { _, ok := f.integer("v"); return ok }, false, "v must be an integer"},
		{"integer too large", `{"v":1e300}`, func(f *fields) any { _, ok := f.integer("v"); return ok }, false, "v must be an integer"},
		{"integer beyond float", `{"v":1e999}`, func(f *fields) any { _, ok := f.integer("v"); return ok }, false, "v must be an integer"},
		{"integer as string", `{"v":"1"}`, func(f *fields) any { _, ok := f.integer("v"); return ok }, false, "v must be an integer"},
		{"boolean", `{"v":true}`, func(f *fields) any { b, ok := f.boolean("v"); return b && ok }, true, ""},
		{"boolean false", `{"v":false}`, func(f *fields) any { b, ok := f.boolean("v"); return !b && ok }, true, ""},
		{"boolean as string", `{"v":"true"}`, func(f *fields) any { _, ok := f.boolean("v"); return ok }, false, "v must be a boolean"},
		{"list", `{"v":["a","\u0062"]}`, func(f *fields) any { return f.strs("v", 2) }, []string{"a", "b"}, ""},
		{"list absent", `{}`, func(f *fields) any { return f.strs("v", 2) }, []string(nil), ""},
		{"list too long", `{"v":["a","b","c"]}`, func(f *fields) any { return f.strs("v", 2) }, []string(nil), "v must be at most 2 strings"},
		{"list with a number", `{"v":["a",1]}`, func(f *fields) any { return f.strs("v", 2) }, []string(nil), "v must be a list of strings"},
		{"list with null", `{"v":[null]}`, func(f *fields) any { return f.strs("v", 2) }, []string(nil), "v must be a list of strings"},
		{"list is a string", `{"v":"a"}`, func(f *fields) any { return f.strs("v", 2) }, []string(nil), "v must be a list of strings"},
		{"object", `{"v":{"a":1}}`, func(f *fields) any { return string(f.object("v")) }, `{"a":1}`, ""},
		{"object is a list", `{"v":[]}`, func(f *fields) any { return string(f.object("v")) }, "", "v must be an object"},
		{"nested", `{"v":{"a":"x"}}`, func(f *fields) any { return f.sub("v").str("a") }, "x", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := fields{Frame: parse(t, tc.in)}
			got := tc.read(&f)
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %#v, want %#v", got, tc.want)
			}
			switch {
			case tc.wantErr == "" && f.err != nil:
				t.Errorf("unexpected error %v", f.err)
			case tc.wantErr != "" && (f.err == nil || f.err.Error() != tc.wantErr):
				t.Errorf("got error %v, want %s", f.err, tc.wantErr)
			}
			var field *FieldError
			if f.err != nil && (!errors.As(f.err, &field) || field.Field != "v") {
				t.Errorf("the error isn't a FieldError: %v", f.err)
			}
		})
	}
}

func TestFieldsKeepTheFirstError(t *testing.T) {
	t.Parallel()
	f := fields{Frame: parse(t, `{"a":1,"b":2}`)}
	f.str("a")
	f.str("b")
	if f.err == nil || f.err.Error() != "a must be a string" {
		t.Errorf("got %v", f.err)
	}
}

// TestDecodedStringsOutliveTheBuffer checks that decoded strings are copies, although a
// frame refers to its bytes.
func TestDecodedStringsOutliveTheBuffer(t *testing.T) {
	t.Parallel()
	buffer := []byte(`{"type":"client_ack","clientMessageId":"abc"}`)
	f, err := ParseFrame(buffer)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := DecodeClientAck(&f)
	if err != nil {
		t.Fatal(err)
	}
	clear(buffer)
	if ack.ClientID != "abc" || f.Type != "client_ack" {
		t.Errorf("got %q, %q", ack.ClientID, f.Type)
	}
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	f := parse(t, `{"type":"peers_list","a\"b":1,"peers":[{"displayName":"Alice","connectedAt":"2026-11-23T18:59:18.474Z"}],"_reqId":"pl-1"}`)
	var list PeersList
	if err := f.Unmarshal(&list); err != nil {
		t.Fatal(err)
	}
	if list.ReqID != "pl-1" || len(list.Peers) != 1 || list.Peers[0].DisplayName != "Alice" || list.Peers[0].ConnectedAt.UnixMilli()%1000 != 474 {
		t.Errorf("got %+v", list)
	}
	if err := parse(t, `{"type":"peers_list","peers":1}`).Unmarshal(&list); err == nil || !strings.Contains(err.Error(), "peers_list") {
		t.Errorf("got %v", err)
	}
}

// recorded returns the real frames of v1 clients and brokers.
func recorded(t testing.TB) (frames []struct {
	Dir   string
	Frame json.RawMessage
}) {
	t.Helper()
	file, err := os.Open("testdata/frames.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		frames = append(frames, struct {
			Dir   string
			Frame json.RawMessage
		}{})
		if err := json.Unmarshal(lines.Bytes(), &frames[len(frames)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if len(frames) < 60 {
		t.Fatalf("only %d frames", len(frames))
	}
	return frames
}

// decoders maps the direction and type of a message to its Decode function.
var decoders = map[string]func(*Frame) error{
	"C hello":          func(f *Frame) error { h := DecodeHello(f); return h.Malformed },
	"C session_hello":  func(f *Frame) error { h := DecodeSessionHello(f); return h.Malformed },
	"C send":           func(f *Frame) error { _, err := DecodeSend(f); return err },
	"C client_ack":     func(f *Frame) error { _, err := DecodeClientAck(f); return err },
	"C message_status": func(f *Frame) error { _, err := DecodeMessageStatus(f); return err },
	"C set_status":     func(f *Frame) error { _, err := DecodeSetStatus(f); return err },
	"C set_summary":    func(f *Frame) error { _, err := DecodeSetSummary(f); return err },
	"C set_stats":      func(f *Frame) error { _, err := DecodeSetStats(f); return err },
	"C set_visible":    func(f *Frame) error { _, err := DecodeSetVisible(f); return err },
	"C set_profile":    func(f *Frame) error { _, err := DecodeSetProfile(f); return err },
	"C join_group":     func(f *Frame) error { _, err := DecodeJoinGroup(f); return err },
	"C leave_group":    func(f *Frame) error { _, err := DecodeLeaveGroup(f); return err },
	"C invite_create":  func(f *Frame) error { _, err := DecodeInviteCreate(f); return err },
	"C invite_revoke":  func(f *Frame) error { _, err := DecodeInviteRevoke(f); return err },
	"C member_set_role": func(f *Frame) error {
		_, err := DecodeMemberSetRole(f)
		return err
	},
	"C member_remove": func(f *Frame) error { _, err := DecodeMemberRemove(f); return err },
	"C grant_set":     func(f *Frame) error { _, err := DecodeGrantSet(f); return err },
	"C audit_query":   func(f *Frame) error { _, err := DecodeAuditQuery(f); return err },
	"S hello_ack":     func(f *Frame) error { _, err := DecodeHelloAck(f); return err },
	"S error":         func(f *Frame) error { _, err := DecodeError(f); return err },
	"S ack":           func(f *Frame) error { _, err := DecodeAck(f); return err },
	"S push": func(f *Frame) (err error) {
		if f.Subtype() == SubtypeSystem {
			_, err = DecodeSystemPush(f)
		} else {
			_, err = DecodePush(f)
		}
		return err
	},
	"S peers_list":            func(f *Frame) error { return f.Unmarshal(new(PeersList)) },
	"S message_status_result": func(f *Frame) error { return f.Unmarshal(new(MessageStatusResult)) },
}

func TestRecordedFramesDecode(t *testing.T) {
	t.Parallel()
	decoded := make(map[string]int)
	for i, r := range recorded(t) {
		f := parse(t, string(r.Frame))
		key := r.Dir + " " + f.Type
		decode, ok := decoders[key]
		if !ok {
			continue // about the mesh itself
		}
		decoded[key]++
		if err := decode(f); err != nil {
			t.Errorf("line %d, %s: %v", i+1, key, err)
		}
	}
	for _, key := range []string{"C hello", "C session_hello", "C send", "C client_ack", "S hello_ack", "S push", "S ack", "S error", "S peers_list"} {
		if decoded[key] == 0 {
			t.Errorf("no frame %s was decoded", key)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, r := range recorded(f) {
		f.Add([]byte(r.Frame))
	}
	f.Add([]byte("{\"type\":\"send\",\"targetSpec\":[\"*\",\"@a/b\"],\"nonce\":\"\xff\"}"))
	f.Add([]byte(`{"type":"invite_create","groups":[{"name":"a"}],"uses":1e1}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		frame, err := ParseFrame(in)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("got error %v", err)
			}
			return
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(in, &object); err != nil {
			t.Fatalf("ParseFrame accepted a frame that package json refuses: %v", err)
		}
		if len(object) != len(frame.fields) && bytes.Equal(bytes.ToValidUTF8(in, nil), in) {
			t.Fatalf("got %d fields, package json found %d", len(frame.fields), len(object))
		}
		for _, decode := range decoders {
			decode(&frame) // must not panic
		}
		if !bytes.Equal(in, before) {
			t.Fatal("decoding changed the input")
		}
	})
}

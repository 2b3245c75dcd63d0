package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// fill sets every field of v, recursively.
func fill(t testing.TB, v reflect.Value, name string) {
	t.Helper()
	switch v.Type() {
	case reflect.TypeFor[Time]():
		v.Set(reflect.ValueOf(Time{time.UnixMilli(1_800_000_000_123).In(time.FixedZone("", 3600))}))
		return
	case reflect.TypeFor[json.RawMessage]():
		v.SetBytes([]byte(`{"a":1}`))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(name + " \"<é\u2028>")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1234567890123)
	case reflect.Uint8:
		v.SetUint(0xab)
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), name)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), fmt.Sprint(name, i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), name)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), v.Type().Field(i).Name)
		}
	default:
		t.Fatalf("%s is a %s: say how to fill it", name, v.Kind())
	}
}

// TestRosterAppendJSONMatchesItsTags checks that AppendJSON of a roster follows the json
// tags, for full and for empty rows.
func TestRosterAppendJSONMatchesItsTags(t *testing.T) {
	t.Parallel()
	var full PeersList
	fill(t, reflect.ValueOf(&full).Elem(), "")
	full.Type = TypePeersList
	for _, l := range []PeersList{
		{Type: TypePeersList, Peers: []PeerRow{}}, {Type: TypePeersList, Peers: []PeerRow{{Groups: []Group{}}}}, full,
	} {
		got := l.AppendJSON(nil)
		want, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var gotValue, wantValue any
		if json.Unmarshal(got, &gotValue) != nil || json.Unmarshal(want, &wantValue) != nil || !reflect.DeepEqual(gotValue, wantValue) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func BenchmarkRoster(b *testing.B) {
	l := PeersList{Type: TypePeersList}
	for range 1000 {
		l.Peers = append(l.Peers, PeerRow{
			DisplayName: "somebody", Status: Working, Groups: []Group{{Name: "backend"}}, SessionID: "01234567-89ab-cdef-0123-456789abcdef",
			Cwd: "/home/somebody/project", PeerRole: RoleSession, Hostname: "laptop", PeerType: "ai", Channel: "claudemesh-session", Visible: true,
			Online: true, Attestation: &Attestation{SessionPubkey: Key{}.String(), ParentMemberPubkey: Key{}.String(), Signature: Signature{}.String()},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(l.AppendJSON(nil))))
	}
}

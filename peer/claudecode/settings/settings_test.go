package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// entry is a typical value to set.
var entry = map[string]any{"type": "command", "command": "a <b> && 'c'"}

func TestSet(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in string
		path     string
		value    any
		want     string
	}{
		{"two spaces", "{\n  \"a\": 1\n}\n", "b", true, "{\n  \"a\": 1,\n  \"b\": true\n}\n"},
		{"object", "{\n  \"a\": 1\n}\n", "b", entry,
			"{\n  \"a\": 1,\n  \"b\": {\n    \"command\": \"a <b> && 'c'\",\n    \"type\": \"command\"\n  }\n}\n"},
		{"tabs", "{\n\t\"a\": 1\n}", "b.c", 1, "{\n\t\"a\": 1,\n\t\"b\": {\n\t\t\"c\": 1\n\t}\n}"},
		{"one line", `{"a":1}`, "b.c", 1, `{"a":1,"b":{"c":1}}`},
		{"one line, wide", `{ "a" : 1 }`, "b", 1, `{ "a" : 1, "b" : 1 }`},
		{"line ends of Windows", "{\r\n  \"a\": 1\r\n}\r\n", "b.c", 1, "{\r\n  \"a\": 1,\r\n  \"b\": {\r\n    \"c\": 1\r\n  }\r\n}\r\n"},
		{"byte order mark", "\ufeff{\r\n\t\"a\": 1\r\n}", "b", 1, "\ufeff{\r\n\t\"a\": 1,\r\n\t\"b\": 1\r\n}"},
		{"byte order mark, one line", "\ufeff{}", "b", 1, "\ufeff{\n  \"b\": 1\n}"},
		{"nothing but a byte order mark", "\ufeff", "b", 1, "\ufeff{\n  \"b\": 1\n}\n"},
		{"empty file", "", "b", 1, "{\n  \"b\": 1\n}\n"},
		{"empty object", "{}", "b.c", 1, "{\n  \"b\": {\n    \"c\": 1\n  }\n}"},
		{"empty object inside", "{\n    \"b\": {}\n}", "b.c", 1, "{\n    \"b\": {\n        \"c\": 1\n    }\n}"},
		{"empty object inside, one line", `{"b":{ }}`, "b.c", 1, `{"b":{"c": 1}}`},
		{"object inside", "{\n  \"b\": {\n    \"x\": 1\n  },\n  \"z\": 2\n}", "b.c", 1, "{\n  \"b\": {\n    \"x\": 1,\n    \"c\": 1\n  },\n  \"z\": 2\n}"},
		{"odd layout", "{ \"a\":1,\n\n      \"b\" :[1,\n2]}", "c", 1, "{ \"a\":1,\n\n      \"b\" :[1,\n2],\n\n      \"c\" :1}"},
		{"other value", `{"a": [1, {"b": "}"}], "c": 2}`, "a", "x", `{"a": "x", "c": 2}`},
		{"same value, other text", `{"a": [ 1 ]}`, "a", []int{1}, `{"a": [ 1 ]}`},
		{"brackets in strings", `{"a": "}\"]{", "b": {"\\": "\\"}}`, "b.c", 1, `{"a": "}\"]{", "b": {"\\": "\\","c": 1}}`},
		{"escaped name", `{"\u0061": 1}`, "a", 2, `{"\u0061": 2}`},
		{"the last of two counts", `{"a": 1, "a": 2}`, "a", 3, `{"a": 1, "a": 3}`},
	} {
		got, err := Set([]byte(tc.in), tc.value, strings.Split(tc.path, ".")...)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %v\n got %q\nwant %q", tc.name, err, got, tc.want)
		}
		if !json.Valid(bytes.TrimPrefix(got, mark)) {
			t.Errorf("%s: not JSON", tc.name)
		}
	}
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"comment", "{ // c\n}", nil}, {"trailing comma", `{"a":1,}`, nil}, {"two objects", "{}{}", nil}, {"torn", `{"a":`, nil}, {"byte order mark within", "{}\ufeff", nil}, {"two byte order marks", "\ufeff\ufeff{}", nil},
		{"array", "[]", errNoObject}, {"null", "null", errNoObject}, {"in the way", `{"b": 7}`, errNoObject},
	} {
		if got, err := Set([]byte(tc.in), 1, "b", "c"); err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %q, %v", tc.name, got, err)
		}
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, path, want string }{
		{"last", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "b", "{\n  \"a\": 1\n}\n"},
		{"first", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "a", "{\n  \"b\": 2\n}\n"},
		{"between", `{"a":1, "b":[2] , "c":3}`, "b", `{"a":1, "c":3}`},
		{"byte order mark", "\ufeff{\"a\": 1,\n\"b\": 2}", "b", "\ufeff{\"a\": 1}"},
		{"only", "{\n  \"a\": 1\n}\n", "a", "{}\n"},
		{"inside", `{"a":{"x":1,"y":2},"b":3}`, "a.y", `{"a":{"x":1},"b":3}`},
		{"one of two", `{"a":1,"b":2,"a":3}`, "a", `{"b":2}`},
		{"two alone", `{"a":1,"a":2}`, "a", `{}`},
		{"not there", `{"a":{"x":1}}`, "a.y", ""},
		{"no object there", `{"a":[1]}`, "a.y", ""},
		{"empty file", ``, "a", ""},
		{"no JSON", `{a}`, "a", ""},
	} {
		got, ok := Remove([]byte(tc.in), strings.Split(tc.path, ".")...)
		if ok != (tc.want != "") || ok && string(got) != tc.want || !ok && string(got) != tc.in {
			t.Errorf("%s: got %q, %v, want %q", tc.name, got, ok, tc.want)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	text := []byte(`{"a": {"b": [1, "x"]}, "n": -1.5e3}`)
	for path, want := range map[string]string{"a": `{"b": [1, "x"]}`, "a.b": `[1, "x"]`, "n": "-1.5e3", "a.c": "", "n.x": "", "x": ""} {
		got, ok := Lookup(text, strings.Split(path, ".")...)
		if string(got) != want || ok != (want != "") {
			t.Errorf("%s: got %s, %v", path, got, ok)
		}
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[2]}`, "{ \"b\": [2],\n\"a\": 1 }", true}, {"", "{}", true}, {`{"a":1}`, `{"a":2}`, false},
		{`{"a":12345678901234567890}`, `{"a":12345678901234567891}`, false}, {`{`, `{`, false},
	} {
		if got := Equal([]byte(tc.a), []byte(tc.b)); got != tc.want {
			t.Errorf("%s and %s: %v", tc.a, tc.b, got)
		}
	}
}

// FuzzSetRemove checks that setting and then removing an entry restores the text.
func FuzzSetRemove(f *testing.F) {
	for _, text := range []string{"", "{}", "{ }", "{\n}", `{"a":1}`, "\ufeff", "\ufeff{\n\"a\": 1}", "{\r\n\t\"a\" : {\"k\": []},\n \"z\":\"\\\"}\"}\n", `{"k":{"k":1},"b":{}}`} {
		f.Add(text, "new", "k")
	}
	f.Fuzz(func(t *testing.T, text, name, inner string) {
		before := []byte(text)
		// JSON can't represent names that aren't UTF-8.
		if Check(before) != nil || !utf8.ValidString(text) || !utf8.ValidString(name) || !utf8.ValidString(inner) {
			return
		}
		if _, there := Lookup(before, name); there {
			return
		}
		with, err := Set(before, 1, name, inner)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if got, _ := Lookup(with, name, inner); string(got) != "1" {
			t.Fatalf("%q became %q, with %q at %q.%q", text, with, got, name, inner)
		}
		after, there := Remove(with, name)
		if !there || !Equal(before, after) {
			t.Errorf("%q became %q", text, after)
		}
		if o := strings.TrimSpace(strings.TrimPrefix(text, string(mark))); len(o) > 2 && strings.TrimSpace(o[1:len(o)-1]) != "" && string(after) != text {
			t.Errorf("%q became %q", text, after)
		}
	})
}

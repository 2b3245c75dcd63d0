package termsvg

import (
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	red := style{fg: palette[1]}
	for _, tc := range []struct {
		name, capture string
		want          []line
	}{
		{"plain", "ab\n", []line{{runs: []run{{0, 2, "ab", style{}}}, width: 2}}},
		{"coloured", "a\x1b[31mbc\x1b[0md", []line{{runs: []run{{0, 1, "a", style{}}, {1, 2, "bc", red}, {3, 1, "d", style{}}}, width: 4}}},
		{"over lines", "\x1b[31ma\nb\x1b[39m", []line{{runs: []run{{0, 1, "a", red}}, width: 1}, {runs: []run{{0, 1, "b", red}}, width: 1}}},
		{"256 colours and truth", "\x1b[38;5;196ma\x1b[48;2;1;2;3mb", []line{{runs: []run{
			{0, 1, "a", style{fg: "#ff0000"}}, {1, 1, "b", style{fg: "#ff0000", bg: "#010203"}}}, width: 2}}},
		{"empty end", "a\n\n  \n", []line{{runs: []run{{0, 1, "a", style{}}}, width: 1}}},
		{"wide text counts runes", "é→x", []line{{runs: []run{{0, 3, "é→x", style{}}}, width: 3}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := parse(tc.capture); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("parse(%q)\n got %+v\nwant %+v", tc.capture, got, tc.want)
			}
		})
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("title", "\x1b[1;38;5;3m<b>&\x1b[0m\n\x1b[")
	f.Fuzz(func(t *testing.T, title, capture string) {
		var b strings.Builder
		if err := Write(&b, Pane{title, capture}); err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				t.Fatalf("not XML: %v\n%s", err, b.String())
			}
		}
	})
}

package termsvg

import (
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	red := style{fg: palette[1]}
	for _, tc := range []struct {
		name, capture string
		want          []line
	}{
		{"plain", "ab\n", []line{{runs: []run{{0, 2, "ab", style{}}}, width: 2}}},
		{"colored", "a\x1b[31mbc\x1b[0md", []line{{runs: []run{{0, 1, "a", style{}}, {1, 2, "bc", red}, {3, 1, "d", style{}}}, width: 4}}},
		{"over lines", "\x1b[31ma\nb\x1b[39m", []line{{runs: []run{{0, 1, "a", red}}, width: 1}, {runs: []run{{0, 1, "b", red}}, width: 1}}},
		{"256 colors and true color", "\x1b[38;5;196ma\x1b[48;2;1;2;3mb", []line{{runs: []run{
			{0, 1, "a", style{fg: "#ff0000"}}, {1, 1, "b", style{fg: "#ff0000", bg: "#010203"}}}, width: 2}}},
		{"empty end", "a\n\n  \n", []line{{runs: []run{{0, 1, "a", style{}}}, width: 1}}},
		{"invisible end", "a \x1b[31m  \n\x1b[0mb\x1b[7m \x1b[0m ", []line{
			{runs: []run{{0, 1, "a", style{}}}, width: 1},
			{runs: []run{{0, 1, "b", style{}}, {1, 1, " ", style{reverse: true}}}, width: 2}}},
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

// TestFilm checks when each row is visible.
func TestFilm(t *testing.T) {
	t.Parallel()
	scene := func(capture string) Scene { return Scene{[]Pane{{"t", capture}}, time.Second} }
	var b strings.Builder
	if err := Write(&b, scene("always\nfirst\n"), scene("always\n\nsecond"), scene("always\n\nsecond\nthird"), scene("always\nfirst")); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	inGroup := func(class, text string) bool {
		_, group, _ := strings.Cut(got, `<g class="`+class+`">`)
		group, _, _ = strings.Cut(group, "</g>")
		return strings.Contains(group, ">"+text+"<")
	}
	for _, want := range []string{
		".s0-1{visibility:hidden;animation:s0-1 4.0s step-end infinite}\n@keyframes s0-1{0.00%{visibility:visible}25.00%{visibility:hidden}}",
		".s1-3{visibility:hidden;animation:s1-3 4.0s step-end infinite}\n@keyframes s1-3{0%{visibility:hidden}25.00%{visibility:visible}75.00%{visibility:hidden}}",
		".s3-4{visibility:visible;animation:s3-4 4.0s step-end infinite}\n@keyframes s3-4{0%{visibility:hidden}75.00%{visibility:visible}}",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("without %q:\n%s", want, got)
		}
	}
	if !inGroup("s0-1", "first") || !inGroup("s1-3", "second") || !inGroup("s2-3", "third") || !inGroup("s3-4", "first") {
		t.Errorf("groups: %s", got)
	}
	if strings.Count(got, ">always<") != 1 || strings.Contains(got, "s0-4") {
		t.Errorf("an unchanged row is drawn more than once:\n%s", got)
	}
	b.Reset()
	if err := Write(&b, scene("still")); err != nil || strings.Contains(b.String(), "<g") || strings.Contains(b.String(), "<style") {
		t.Errorf("a still: %v\n%s", err, b.String())
	}
	if Write(&b) == nil || Write(&b, scene("x"), Scene{}) == nil {
		t.Error("Write accepts no scenes or different panes")
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("title", "\x1b[1;38;5;3m<b>&\x1b[0m\n\x1b[", "other")
	f.Fuzz(func(t *testing.T, title, capture, other string) {
		var b strings.Builder
		if err := Write(&b, Scene{[]Pane{{title, capture}}, 1}, Scene{[]Pane{{title, other}}, 2}); err != nil {
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

package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
)

func TestTable(t *testing.T) {
	t.Parallel()
	rows := [][]string{
		{"NAME", "KEY", "STATUS", "SUMMARY"},
		{"bob", "0123456789abcdef", "idle", "writes tests"},
		{"田中さん", "0123456789abcdef", "working", ""},
		{"👩🏽‍💻 ann", "0123456789abcdef", "idle, hidden", "🇩🇪 reads e\u0301"},
		{"evil\x1b[2J\nname", "0123456789abcdef", "away", strings.Repeat("長い ", 40)},
	}
	for _, tt := range []struct {
		name    string
		columns int
		want    []string
	}{
		{"no terminal", 0, []string{
			`NAME                 KEY               STATUS        SUMMARY`,
			`bob                  0123456789abcdef  idle          writes tests`,
			`田中さん             0123456789abcdef  working`,
			"👩🏽‍💻 ann               0123456789abcdef  idle, hidden  🇩🇪 reads e\u0301",
			`evil\u{1B}[2J\nname  0123456789abcdef  away          ` + strings.TrimRight(strings.Repeat("長い ", 40), " "),
		}},
		{"80 columns", 80, []string{
			`NAME                 KEY               STATUS        SUMMARY`,
			`bob                  0123456789abcdef  idle          writes tests`,
			`田中さん             0123456789abcdef  working`,
			"👩🏽‍💻 ann               0123456789abcdef  idle, hidden  🇩🇪 reads e\u0301",
			`evil\u{1B}[2J\nname  0123456789abcdef  away          長い 長い 長い 長い 長い…`,
		}},
		{"48 columns: keys stay whole", 48, []string{
			`NAME       KEY               STATUS     SUMMARY`,
			`bob        0123456789abcdef  idle       writes…`,
			`田中さん   0123456789abcdef  working`,
			"👩🏽‍💻 ann     0123456789abcdef  idle, hi…  🇩🇪 read…",
			`evil\u{1…  0123456789abcdef  away       長い 長…`,
		}},
		{"20 columns: what does not fit is left out", 20, []string{
			`NAME      KEY`,
			`bob       012345678…`,
			`田中さん  012345678…`,
			"👩🏽‍💻 ann    012345678…",
			`evil\u{…  012345678…`,
		}},
	} {
		var out bytes.Buffer
		a := &app{out: &out, columns: tt.columns}
		if err := a.table(rows, "KEY"); err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		for i := range tt.want {
			if i >= len(got) || got[i] != tt.want[i] {
				t.Errorf("%s: got\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				break
			}
		}
		for _, line := range got {
			if tt.columns > 0 && displaywidth.String(line) > tt.columns {
				t.Errorf("%s: %q has %d columns", tt.name, line, displaywidth.String(line))
			}
		}
	}
	if err := (&app{out: new(bytes.Buffer), columns: 80}).table(nil); err != nil {
		t.Error(err)
	}
}

// TestTableColors checks that colors don't change the layout, and text from others can't
// produce colors.
func TestTableColors(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"NAME", "STATUS"}, {"working", "idle"}, {"\x1b[31mred", "working (waiting)"}, {"x", ""}}
	var plain, colored bytes.Buffer
	if err := (&app{out: &plain, columns: 20}).table(rows); err != nil {
		t.Fatal(err)
	}
	if err := (&app{out: &colored, columns: 20, color: true}).table(rows); err != nil {
		t.Fatal(err)
	}
	text := colored.String()
	for _, want := range []string{"\x1b[1mNAME\x1b[0m", "\x1b[32midle\x1b[0m", "\x1b[33mworking", "\nworking "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
	for _, sgr := range []string{bold, green, yellow} {
		text = strings.ReplaceAll(text, "\x1b["+sgr+"m", "")
	}
	if text = strings.ReplaceAll(text, "\x1b[0m", ""); text != plain.String() {
		t.Errorf("got %q, want %q", text, plain.String())
	}
}

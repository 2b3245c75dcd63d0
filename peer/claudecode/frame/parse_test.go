package frame

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/visible"
)

// frameShape matches everything that Render may write for one message.
var (
	frameShape = regexp.MustCompile(`^<mesh_message((?: [a-z_]+="[^"<>\n]*")+)>\n([^<>]*)\n</mesh_message>\n` +
		`(?:\((Characters [0-9]+ to [0-9]+ of [0-9]+(?:\. This is the end of the message\.|\. To read on, call check_messages with message_id (?:"[A-Za-z0-9._:-]+"|the id above) and offset [0-9]+\.))\)\n)?\n`)
	attributeShape = regexp.MustCompile(` ([a-z_]+)="([^"]*)"`)
	footerShape    = regexp.MustCompile(`^(?:[0-9]+ more unread: call check_messages again\.\n)?$`)
	entityShape    = regexp.MustCompile(`&(?:amp|lt|gt|quot|apos);`)
)

// parsed is a parsed frame.
type parsed struct {
	attributes map[string]string
	text       string
	part       string // without the parentheses; "" when the text is whole
}

// parse parses the output of Render. It fails the test if it finds anything that Render must
// not write.
func parse(t *testing.T, rendered string) []parsed {
	t.Helper()
	if !utf8.ValidString(rendered) {
		t.Fatalf("not UTF-8: %q", rendered)
	}
	for _, r := range rendered {
		if r != '\n' && r != '\t' && !unicode.IsGraphic(r) && r != '\u200c' && r != '\u200d' {
			t.Fatalf("%U is in the text: %q", r, rendered)
		}
	}
	rest, ok := strings.CutPrefix(rendered, preamble+"\n\n")
	if !ok {
		if rest, ok = strings.CutPrefix(rendered, nothing+"\n"); !ok {
			t.Fatalf("no preamble: %q", rendered)
		}
	}
	var list []parsed
	for {
		m := frameShape.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		p := parsed{attributes: make(map[string]string), text: unescape(t, m[2]), part: m[3]}
		for _, a := range attributeShape.FindAllStringSubmatch(m[1], -1) {
			if _, twice := p.attributes[a[1]]; twice {
				t.Fatalf("attribute %s appears twice: %q", a[1], m[1])
			}
			p.attributes[a[1]] = unescape(t, a[2])
		}
		list = append(list, p)
		rest = rest[len(m[0]):]
	}
	if !footerShape.MatchString(rest) {
		t.Fatalf("text outside of any frame: %q", rest)
	}
	return list
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	if left := entityShape.ReplaceAllString(s, ""); strings.Contains(left, "&") {
		t.Fatalf("an unescaped ampersand in %q", s)
	}
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&quot;", `"`, "&apos;", "'", "&amp;", "&").Replace(s)
}

// cleaned returns what remains of a text after rendering and parsing.
func cleaned(text string) string {
	return visible.Text(strings.ReplaceAll(string([]rune(text)), "\r\n", "\n"), visible.Model)
}

// FuzzRender checks that there is one frame, and that it contains the message, whatever the
// message contains.
func FuzzRender(f *testing.F) {
	for _, h := range hostile {
		f.Add(h.text, h.text, h.text)
	}
	f.Add("bob", "hello\r\n\tworld ❤️‍🔥 नमस्ते", "id")
	f.Fuzz(func(t *testing.T, name, text, id string) {
		if utf8.RuneCountInString(text) > 2000 {
			return // cutting has its own test
		}
		m := Message{
			ID: id, From: name, Member: name, Role: name, Mesh: name, Doubt: name, Sealed: name, To: []string{name},
			Priority: name, ReplyTo: id, Text: text, Length: utf8.RuneCountInString(text),
		}
		got := parse(t, Render([]Message{m, {ID: "2", Text: "second"}}, 3))
		if len(got) != 2 || got[1].text != "second" {
			t.Fatalf("frames: %q", got)
		}
		if want := cleaned(text); got[0].text != want {
			t.Errorf("text %q came back as %q, want %q", text, got[0].text, want)
		}
		if again := cleaned(got[0].text); again != got[0].text {
			t.Errorf("cleaned twice, %q becomes %q", got[0].text, again)
		}
		if got[0].part != "" {
			t.Errorf("a whole text is shown as a part: %s", got[0].part)
		}
		for name, value := range got[0].attributes {
			if utf8.RuneCountInString(value) > maxReason+1 {
				t.Errorf("attribute %s has %d characters", name, utf8.RuneCountInString(value))
			}
		}
	})
}

// TestReadOn checks that reading from offset to offset gives the whole text.
func TestReadOn(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"plain text ", "<&>\r\n", "日本\xff", "\u202e\U000e0041", "\x00&\r", "'\"\n"} {
		for _, crowded := range []bool{false, true} {
			t.Run(fmt.Sprintf("%q, crowded: %v", unit, crowded), func(t *testing.T) {
				t.Parallel()
				size := 30_000
				if crowded {
					size = 3000 // the parts are smaller too
				}
				whole := []rune(strings.Repeat(unit, size/len(unit))) // an invalid byte is one character
				if got, want := readOn(t, whole, crowded), cleaned(string(whole)); got != want {
					t.Errorf("read %d bytes, want %d", len(got), len(want))
				}
			})
		}
	}
}

// readOn reads a text part by part, following the instruction after each part.
func readOn(t *testing.T, whole []rune, crowded bool) string {
	t.Helper()
	var read strings.Builder
	for offset := 0; ; {
		list := []Message{{ID: "x", Text: string(whole[offset:]), Offset: offset, Length: len(whole)}}
		if crowded { // the other two leave the least
			other := Message{ID: "y", Text: strings.Repeat("y", maxText)}
			list = append([]Message{other, other}, list...)
		}
		all := parse(t, Render(list, 0))
		p := all[len(all)-1]
		read.WriteString(p.text)
		if p.part == "" || strings.HasSuffix(p.part, "the end of the message.") {
			return read.String()
		}
		var from, to, length, next int
		if _, err := fmt.Sscanf(p.part, `Characters %d to %d of %d. To read on, call check_messages with message_id "x" and offset %d.`, &from, &to, &length, &next); err != nil {
			t.Fatalf("%q: %v", p.part, err)
		}
		if from != offset || to != next || next <= offset || length != len(whole) {
			t.Fatalf("at %d of %d: %s", offset, len(whole), p.part)
		}
		offset = next
	}
}

package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
)

// errNoObject is returned for a text that is valid JSON, but not an object.
var errNoObject = errors.New("not a JSON object")

// Check returns an error unless the text is a JSON object. A blank text counts as an empty
// object.
func Check(text []byte) error {
	if blank(text) {
		return nil
	}
	d := decoder(bytes.TrimPrefix(text, mark))
	kind := d.PeekKind()
	err := d.SkipValue()
	if err == nil {
		if _, end := d.ReadToken(); !errors.Is(end, io.EOF) {
			return errors.New("not JSON: there is more text after the object")
		}
	}
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(text[:min(int(syntax.ByteOffset), len(text))], []byte("\n"))
		return fmt.Errorf("not JSON: line %d: %w", line, syntax.Err)
	case err != nil:
		return fmt.Errorf("not JSON: %w", err)
	case kind != jsontext.KindBeginObject:
		return errNoObject
	}
	return nil
}

// decoder reads JSON as Claude Code does: of several members with the same name, the last
// counts.
func decoder(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// Equal reports whether two texts that pass Check have the same meaning.
func Equal(a, b []byte) bool {
	va, errA := decode(a)
	vb, errB := decode(b)
	return errA == nil && errB == nil && reflect.DeepEqual(va, vb)
}

func decode(text []byte) (v any, err error) {
	if blank(text) {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, mark)))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

func blank(text []byte) bool { return len(bytes.TrimSpace(bytes.TrimPrefix(text, mark))) == 0 }

// mark is the byte order mark with which some Windows editors begin a file. Claude Code skips
// it, and so does this package.
var mark = []byte("\ufeff")

// top returns the offset of the top object.
func top(text []byte) int {
	return len(text) - len(bytes.TrimLeft(bytes.TrimPrefix(text, mark), " \t\r\n"))
}

// member holds the position of a member of an object, as offsets into the text.
type member struct {
	name             string
	keyStart, keyEnd int
	valStart, valEnd int
	prevEnd          int // end of the comma or brace before the member
}

// object holds the position of an object; end is the offset of its closing brace.
type object struct {
	start, end int
	members    []member
}

// parseObject reads the object at start of a text that passed Check.
func parseObject(text []byte, start int) object {
	d := decoder(text[start:])
	_, _ = d.ReadToken() // the brace
	o := object{start: start}
	end := start + 1 // offset after the last token
	read := func() (value jsontext.Value, from int) {
		value, _ = d.ReadValue()
		end = start + int(d.InputOffset())
		return value, end - len(value)
	}
	for d.PeekKind() == jsontext.KindString {
		m := member{prevEnd: end}
		name, from := read()
		m.keyStart, m.keyEnd = from, end
		if len(o.members) > 0 {
			m.prevEnd += 1 + bytes.IndexByte(text[m.prevEnd:from], ',')
		}
		unquoted, _ := jsontext.AppendUnquote(nil, name)
		m.name = string(unquoted)
		_, m.valStart = read()
		m.valEnd = end
		o.members = append(o.members, m)
	}
	_, _ = d.ReadToken() // the closing brace
	o.end = start + int(d.InputOffset()) - 1
	return o
}

// find returns the index of the last member with that name, or -1.
func (o object) find(name string) int {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name == name {
			return i
		}
	}
	return -1
}

// valueAt returns the value at an offset of a text that passed Check.
func valueAt(text []byte, at int) []byte {
	value, _ := decoder(text[at:]).ReadValue()
	return value
}

// locate returns the offset of the value at a path. It reports false if there is none.
func locate(text []byte, path []string) (at int, ok bool) {
	if Check(text) != nil || blank(text) {
		return 0, false
	}
	at = top(text)
	for _, name := range path {
		if text[at] != '{' {
			return 0, false
		}
		o := parseObject(text, at)
		i := o.find(name)
		if i < 0 {
			return 0, false
		}
		at = o.members[i].valStart
	}
	return at, true
}

// Lookup returns the text of the value at a path. It reports false if there is none.
func Lookup(text []byte, path ...string) (json.RawMessage, bool) {
	at, ok := locate(text, path)
	if !ok {
		return nil, false
	}
	return bytes.Clone(valueAt(text, at)), true
}

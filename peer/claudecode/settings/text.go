package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// ErrNoObject is returned for a text that is valid JSON, but no object.
var ErrNoObject = errors.New("not a JSON object")

// Check fails for a text that is no JSON object. A text of nothing but white space
// counts as an empty object.
func Check(text []byte) error {
	if blank(text) {
		return nil
	}
	var object map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, mark)))
	if err := d.Decode(&object); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return ErrNoObject
		}
		return fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("not JSON: something follows the object")
	}
	if object == nil {
		return ErrNoObject
	}
	return nil
}

// Equal reports whether two texts that pass Check mean the same.
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

// mark is the byte order mark that editors of Windows begin a file with, and that Claude
// Code skips. It stays where it is.
var mark = []byte("\ufeff")

// top returns the offset of the top object.
func top(text []byte) int {
	if bytes.HasPrefix(text, mark) {
		return skipSpace(text, len(mark))
	}
	return skipSpace(text, 0)
}

// member is where a member of an object stands: offsets into the text.
type member struct {
	name             string
	keyStart, keyEnd int
	valStart, valEnd int
	prevEnd          int // of the comma or brace before it
}

// object is where an object stands; end is the offset of its closing brace.
type object struct {
	start, end int
	members    []member
}

// parseObject reads the object at start of a text that passed Check.
func parseObject(text []byte, start int) object {
	o := object{start: start}
	for i := start + 1; ; {
		m := member{prevEnd: i, keyStart: skipSpace(text, i)}
		if text[m.keyStart] == '}' {
			o.end = m.keyStart
			return o
		}
		m.keyEnd = skipValue(text, m.keyStart)
		_ = json.Unmarshal(text[m.keyStart:m.keyEnd], &m.name) // valid, see Check
		colon := skipSpace(text, m.keyEnd)
		m.valStart = skipSpace(text, colon+1)
		m.valEnd = skipValue(text, m.valStart)
		o.members = append(o.members, m)
		i = skipSpace(text, m.valEnd)
		if text[i] == ',' {
			i++
		}
	}
}

// find returns the index of the member that counts, or -1.
func (o object) find(name string) int {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name == name {
			return i
		}
	}
	return -1
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the end of the value at i.
func skipValue(text []byte, i int) int {
	switch text[i] {
	case '"':
		for i++; text[i] != '"'; i++ {
			if text[i] == '\\' {
				i++
			}
		}
		return i + 1
	case '{', '[':
		for depth := 0; ; {
			switch text[i] {
			case '"':
				i = skipValue(text, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if i++; depth == 0 {
				return i
			}
		}
	}
	for i < len(text) && !bytes.ContainsRune([]byte(",]} \t\r\n"), rune(text[i])) {
		i++
	}
	return i
}

// locate returns the offset of the value at a path; false when there is none.
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

// Lookup returns the text of the value at a path; false when there is none.
func Lookup(text []byte, path ...string) (json.RawMessage, bool) {
	at, ok := locate(text, path)
	if !ok {
		return nil, false
	}
	return bytes.Clone(text[at:skipValue(text, at)]), true
}

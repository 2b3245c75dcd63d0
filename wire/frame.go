package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrMalformed is returned for a frame that isn't a JSON object.
var ErrMalformed = errors.New("frame is not a JSON object")

// Frame is one received message, parsed once. It refers to the bytes it was parsed
// from: don't change them while the frame is in use.
type Frame struct {
	// Type is the message type, "" when the field is absent or not a string.
	Type string
	// ReqID is the request id that the answer echoes, "" when there is none.
	ReqID string

	fields []field
}

type field struct {
	name  []byte
	value jsontext.Value
}

// parser is a reusable decoder. Reuse saves allocating the decoder's table of names
// for each frame.
type parser struct {
	decoder *jsontext.Decoder
	input   bytes.Buffer
}

var parsers = sync.Pool{New: func() any {
	p := new(parser)
	p.decoder = jsontext.NewDecoder(&p.input)
	return p
}}

// begin returns a decoder of b. The caller calls release when it is done.
func (p *parser) begin(b []byte) *jsontext.Decoder {
	p.input = *bytes.NewBuffer(b)
	p.decoder.Reset(&p.input, jsontext.AllowInvalidUTF8(true))
	return p.decoder
}

func (p *parser) release() {
	p.begin(nil) // don't keep the caller's bytes alive
	parsers.Put(p)
}

// ParseFrame reads one JSON object. It returns ErrMalformed for anything that isn't
// an object, for duplicate names and for trailing text. It reads unpaired surrogates
// and invalid UTF-8, which v1 clients can produce, as U+FFFD.
func ParseFrame(b []byte) (Frame, error) {
	p := parsers.Get().(*parser)
	defer p.release()
	dec := p.begin(b)
	if dec.PeekKind() != '{' {
		return Frame{}, ErrMalformed
	}
	if _, err := dec.ReadToken(); err != nil {
		return Frame{}, ErrMalformed
	}
	f := Frame{fields: make([]field, 0, 12)}
	for dec.PeekKind() == '"' {
		name, err := readValue(dec, b)
		if err != nil {
			return Frame{}, ErrMalformed
		}
		value, err := readValue(dec, b)
		if err != nil {
			return Frame{}, ErrMalformed
		}
		f.fields = append(f.fields, field{unquote(name), value})
	}
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '}' {
		return Frame{}, ErrMalformed
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return Frame{}, ErrMalformed
	}
	f.Type, _ = text(f.raw("type"))
	f.ReqID, _ = text(f.raw("_reqId"))
	return f, nil
}

// readValue returns the next value as a slice of b, the input of dec. The slice that
// the decoder returns is valid only until its next call.
func readValue(dec *jsontext.Decoder, b []byte) (jsontext.Value, error) {
	value, err := dec.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(dec.InputOffset())
	return b[end-len(value) : end], nil
}

// raw returns the value of a field, nil when it is absent or null.
func (f *Frame) raw(name string) jsontext.Value {
	for i := range f.fields {
		if string(f.fields[i].name) == name {
			if v := f.fields[i].value; v.Kind() != 'n' {
				return v
			}
			return nil
		}
	}
	return nil
}

// FieldError says which field of a message is missing or has a wrong value.
type FieldError struct {
	Field string // name on the wire
	Want  string // what it must be, e.g. "a string"
}

func (e *FieldError) Error() string { return e.Field + " must be " + e.Want }

// fields reads values from a frame and keeps the first error.
type fields struct {
	*Frame
	err error
}

func (f *fields) fail(name, want string) {
	if f.err == nil {
		f.err = &FieldError{name, want}
	}
}

// need is str for a required field.
func (f *fields) need(name string) string {
	if f.raw(name) == nil {
		f.fail(name, "a string")
		return ""
	}
	return f.str(name)
}

// str returns a string, "" when absent.
func (f *fields) str(name string) string {
	v := f.raw(name)
	if v == nil {
		return ""
	}
	s, ok := text(v)
	if !ok {
		f.fail(name, "a string")
	}
	return s
}

// integer returns a whole number and whether the field is present.
func (f *fields) integer(name string) (int64, bool) {
	v := f.raw(name)
	if v == nil {
		return 0, false
	}
	n, ok := whole(v)
	if !ok {
		f.fail(name, "an integer")
	}
	return n, ok
}

// boolean returns a boolean and whether the field is present.
func (f *fields) boolean(name string) (value, present bool) {
	v := f.raw(name)
	if v == nil {
		return false, false
	}
	if k := v.Kind(); k != 't' && k != 'f' {
		f.fail(name, "a boolean")
		return false, false
	}
	return v.Kind() == 't', true
}

// strs returns a list of at most limit strings.
func (f *fields) strs(name string, limit int) []string {
	v := f.raw(name)
	if v == nil {
		return nil
	}
	list, ok := texts(v)
	if !ok {
		f.fail(name, "a list of strings")
	}
	if len(list) > limit {
		f.fail(name, fmt.Sprintf("at most %d strings", limit))
		return nil
	}
	return list
}

// object returns the raw text of an object, nil when absent.
func (f *fields) object(name string) jsontext.Value {
	v := f.raw(name)
	if v == nil {
		return nil
	}
	if v.Kind() != '{' {
		f.fail(name, "an object")
		return nil
	}
	return v
}

// sub opens a nested object, nil when absent.
func (f *fields) sub(name string) *fields {
	v := f.object(name)
	if v == nil {
		return nil
	}
	inner, err := ParseFrame(v)
	if err != nil {
		f.fail(name, "an object")
		return nil
	}
	return &fields{Frame: &inner}
}

// each calls read for every element of a list of at most limit objects.
func (f *fields) each(name string, limit int, read func(*fields)) {
	v := f.raw(name)
	if v == nil {
		return
	}
	elements, ok := elements(v)
	if !ok {
		f.fail(name, "a list")
		return
	}
	if len(elements) > limit {
		f.fail(name, fmt.Sprintf("a list of at most %d", limit))
		return
	}
	for _, e := range elements {
		inner, err := ParseFrame(e)
		if err != nil {
			f.fail(name, "a list of objects")
			return
		}
		sub := fields{Frame: &inner}
		read(&sub)
		if sub.err != nil {
			f.fail(name, "a list of valid objects: "+sub.err.Error())
		}
	}
}

// text unquotes a JSON string.
func text(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	return string(unquote(v)), true
}

// unquote returns the text of a JSON string: a slice of v if v has no escapes and is
// ASCII, else a copy.
func unquote(v jsontext.Value) []byte {
	if inner := v[1 : len(v)-1]; isPlain(inner) {
		return inner
	}
	// Ignore the error: AppendUnquote reports invalid UTF-8 although it replaces it.
	b, _ := jsontext.AppendUnquote(nil, v)
	return b
}

// isPlain reports whether the inside of a JSON string is its own unquoted text.
func isPlain(b []byte) bool {
	// Check eight bytes at a time: most of the input is bodies of messages.
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		if (w|hasByte(w, '\\'))&highBits != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// lowBits and highBits have the lowest and the highest bit of each byte set.
const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// hasByte returns a word with at least one of highBits set if, and only if, a byte of
// w equals c.
func hasByte(w uint64, c byte) uint64 {
	w ^= lowBits * uint64(c)
	return (w - lowBits) &^ w & highBits
}

// whole reads a JSON number without a fraction, such as 7 or 1e3.
func whole(v jsontext.Value) (int64, bool) {
	if v.Kind() != '0' {
		return 0, false
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return n, true
	}
	x, err := strconv.ParseFloat(string(v), 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) > 1<<53 {
		return 0, false
	}
	return int64(x), true
}

// texts reads a list of strings.
func texts(v jsontext.Value) ([]string, bool) {
	elements, ok := elements(v)
	if !ok {
		return nil, false
	}
	list := make([]string, 0, len(elements))
	for _, e := range elements {
		s, ok := text(e)
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}

// elements splits a JSON array into its elements.
func elements(v jsontext.Value) ([]jsontext.Value, bool) {
	if v.Kind() != '[' {
		return nil, false
	}
	p := parsers.Get().(*parser)
	defer p.release()
	dec := p.begin(v)
	if _, err := dec.ReadToken(); err != nil {
		return nil, false
	}
	var list []jsontext.Value
	for dec.PeekKind() != ']' {
		value, err := readValue(dec, v)
		if err != nil {
			return nil, false
		}
		list = append(list, value)
	}
	return list, true
}

package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Set returns the text with a value at a path, which must not be empty. It creates missing
// objects along the path. It fails if the text doesn't pass Check, if a value along the path
// isn't an object, or if the value can't be encoded.
func Set(text []byte, value any, path ...string) ([]byte, error) {
	if err := Check(text); err != nil {
		return nil, err
	}
	if blank(text) {
		text = append(bytes.Clone(text[:len(text)-len(bytes.TrimPrefix(text, mark))]), "{}\n"...)
	}
	at := top(text)
	for depth, name := range path {
		if text[at] != '{' {
			return nil, fmt.Errorf("%s: %w", strings.Join(path[:depth], "."), errNoObject)
		}
		o := parseObject(text, at)
		i := o.find(name)
		if i < 0 {
			for inner := len(path) - 1; inner > depth; inner-- {
				value = map[string]any{path[inner]: value}
			}
			return add(text, o, name, value)
		}
		at = o.members[i].valStart
	}
	old := valueAt(text, at)
	compact, err := encode(value, "", "")
	if err != nil {
		return nil, err
	}
	if Equal(old, compact) {
		return text, nil
	}
	return splice(text, at, at+len(old), compact), nil
}

// add appends a member to an object, formatted like the last member.
func add(text []byte, o object, name string, value any) ([]byte, error) {
	key, err := encode(name, "", "")
	if err != nil {
		return nil, err
	}
	if len(o.members) == 0 {
		return addFirst(text, o, key, value)
	}
	last := o.members[len(o.members)-1]
	space := text[last.prevEnd:last.keyStart]
	indent, unit := "", ""
	if nl := bytes.LastIndexByte(space, '\n'); nl >= 0 {
		indent = string(space[nl+1:])
		unit = strings.TrimPrefix(indent, lineIndent(text, o.end))
		if unit == "" || strings.Trim(unit, " \t") != "" {
			unit = "  "
		}
	}
	encoded, err := encode(value, indent, unit)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(space, []byte("\r\n")) {
		encoded = bytes.ReplaceAll(encoded, []byte("\n"), []byte("\r\n"))
	}
	entry := bytes.Join([][]byte{[]byte(","), space, key, text[last.keyEnd:last.valStart], encoded}, nil)
	return splice(text, last.valEnd, last.valEnd, entry), nil
}

// addFirst adds a member to an empty object. It uses several lines if the text has several
// lines, or if the text consists of that object only.
func addFirst(text []byte, o object, key []byte, value any) ([]byte, error) {
	body := bytes.TrimSpace(bytes.TrimPrefix(text, mark))
	if !bytes.ContainsRune(body, '\n') && len(body) > o.end-o.start+1 {
		encoded, err := encode(value, "", "")
		if err != nil {
			return nil, err
		}
		return splice(text, o.start, o.end+1, fmt.Appendf(nil, "{%s: %s}", key, encoded)), nil
	}
	base, unit := lineIndent(text, o.start), rootIndent(text)
	encoded, err := encode(value, base+unit, unit)
	if err != nil {
		return nil, err
	}
	entry := fmt.Appendf(nil, "{\n%s%s: %s\n%s}", base+unit, key, encoded, base)
	if bytes.Contains(text, []byte("\r\n")) {
		entry = bytes.ReplaceAll(entry, []byte("\n"), []byte("\r\n"))
	}
	return splice(text, o.start, o.end+1, entry), nil
}

// lineIndent returns the white space at the start of the line that contains offset at.
func lineIndent(text []byte, at int) string {
	start := bytes.LastIndexByte(text[:at], '\n') + 1
	end := start
	for end < at && (text[end] == ' ' || text[end] == '\t') {
		end++
	}
	return string(text[start:end])
}

// rootIndent returns the indentation of the top object's members.
func rootIndent(text []byte) string {
	o := parseObject(text, top(text))
	if len(o.members) > 0 {
		m := o.members[0]
		if nl := bytes.LastIndexByte(text[m.prevEnd:m.keyStart], '\n'); nl >= 0 && m.prevEnd+nl+1 < m.keyStart {
			return string(text[m.prevEnd+nl+1 : m.keyStart])
		}
	}
	return "  "
}

// Remove returns the text without the member at a path, and whether there was one. If several
// members have that name, it removes them all.
func Remove(text []byte, path ...string) ([]byte, bool) {
	removed := false
	for {
		shorter, ok := removeLast(text, path)
		if !ok {
			return text, removed
		}
		text, removed = shorter, true
	}
}

// removeLast removes the last member at a path, the one that counts.
func removeLast(text []byte, path []string) ([]byte, bool) {
	if len(path) == 0 {
		return text, false
	}
	parent, ok := locate(text, path[:len(path)-1])
	if !ok || text[parent] != '{' {
		return text, false
	}
	o := parseObject(text, parent)
	i := o.find(path[len(path)-1])
	switch {
	case i < 0:
		return text, false
	case len(o.members) == 1:
		return splice(text, o.start+1, o.end, nil), true
	case i == len(o.members)-1:
		return splice(text, o.members[i-1].valEnd, o.members[i].valEnd, nil), true
	}
	return splice(text, o.members[i].keyStart, o.members[i+1].keyStart, nil), true
}

// splice returns a copy of the text in which part replaces the bytes from start to end.
func splice(text []byte, start, end int, part []byte) []byte {
	return bytes.Join([][]byte{text[:start], part, text[end:]}, nil)
}

// encode encodes a value, over several lines if unit isn't empty.
func encode(value any, prefix, unit string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, unit)
	if err := enc.Encode(value); err != nil {
		return nil, fmt.Errorf("encode setting: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

package column

import (
	"encoding/json"

	"github.com/claudemesh/claudemesh/wire"
)

// Groups returns the JSON of a list of groups.
func Groups(groups []wire.Group) string {
	if len(groups) == 0 {
		return "[]"
	}
	return encode(groups)
}

// Strings returns the JSON of a list of texts.
func Strings(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	return encode(list)
}

// Grants returns the JSON of a member's grants. It keeps a key without capabilities,
// because that entry blocks the key.
func Grants(grants map[wire.Key][]string) string {
	if len(grants) == 0 {
		return "{}"
	}
	return encode(grants)
}

// Profile returns the JSON of a profile, or nil if there is none.
func Profile(p *wire.Profile) *string {
	if p == nil {
		return nil
	}
	s := encode(p)
	return &s
}

// Stats returns the JSON unchanged, or nil if there is none.
func Stats(raw json.RawMessage) *string { return NullText(string(raw)) }

// encode marshals a value that consists only of texts, which can't fail.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

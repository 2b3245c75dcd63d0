package peer

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// check fails for a mesh of which a field can't be what it is used as: the slug is a
// folder and a word of commands, the ids are parts of what is signed, the URL is
// connected to. Invites, brokers and the config file are believed in none of it. Its
// errors quote.
func (m *Mesh) check() error {
	if !wire.ValidSlug(m.Slug) {
		return fmt.Errorf("the slug of the mesh is %q; a slug is 1-%d of a-z, 0-9, '.', '_' and '-', with no dot at the start", visible.Short(m.Slug, visible.People, 2*wire.MaxSlugLen), wire.MaxSlugLen)
	}
	for _, id := range []struct{ of, text string }{{"mesh", m.MeshID}, {"member", m.MemberID}} {
		if !validID(id.text) {
			return fmt.Errorf("the id of the %s is %q; an id is 1-%d letters, digits, '-' and '_'", id.of, visible.Short(id.text, visible.People, wire.MaxNameLen), wire.MaxNameLen)
		}
	}
	u, err := url.Parse(m.BrokerURL)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" || u.User != nil {
		return fmt.Errorf("the broker's URL is %q; it must begin with ws:// or wss:// and name a host", visible.Short(m.BrokerURL, visible.People, wire.MaxNameLen))
	}
	return nil
}

// validID reports whether s can be an id that a broker has made.
func validID(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return s != "" && len(s) <= wire.MaxNameLen && strings.Trim(s, letters) == ""
}

// shownName returns the name of a mesh as it can be shown, else its slug.
func shownName(name, slug string) string {
	name = visible.Cut(visible.Line(strings.TrimSpace(name), visible.People), wire.MaxNameLen, visible.Bytes)
	if name == "" {
		return slug
	}
	return name
}

package peer

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// check returns an error if a field of a mesh is not fit for its use: the slug becomes the
// name of a folder and part of commands, the ids become part of signed texts, and the
// client connects to the URL. check trusts neither invites nor brokers nor the config
// file. Its errors quote the field.
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

// validID reports whether s may be an id that a broker made.
func validID(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return s != "" && len(s) <= wire.MaxNameLen && strings.Trim(s, letters) == ""
}

// shownName returns the name of a mesh if it is fit to show, and its slug otherwise.
func shownName(name, slug string) string {
	name = visible.Cut(visible.Line(strings.TrimSpace(name), visible.People), wire.MaxNameLen, visible.Bytes)
	if name == "" {
		return slug
	}
	return name
}

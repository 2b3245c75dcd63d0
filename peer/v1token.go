package peer

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/claudemesh/claudemesh/envelope"
)

// v1TokenName is the file in which clients of protocol v1 keep the token that they joined
// a mesh with. They store the mesh key nowhere else. Mesh.check makes sure that a slug names
// a file in the config directory.
func v1TokenName(slug string) string { return "invite-" + slug + ".txt" }

// adoptV1Keys reads the keys of meshes that a client of protocol v1 has joined from the
// tokens that it keeps, and writes them to the config. If it can't write the config, the
// next LoadConfig reads the tokens again.
func adoptV1Keys(d Dir, c *Config) {
	found := make(map[string]envelope.MeshKey)
	for i := range c.Meshes {
		m := &c.Meshes[i]
		if key, ok := v1Key(d, m); ok {
			m.Key = key
			found[m.MeshID] = key
		}
	}
	if len(found) == 0 {
		return
	}
	_ = UpdateConfig(context.Background(), d, func(c *Config) error {
		for i := range c.Meshes {
			if m := &c.Meshes[i]; m.Key.IsZero() {
				m.Key = found[m.MeshID]
			}
		}
		return nil
	})
}

// v1Key returns the key of a mesh from the token with which it was joined, if the config
// does not have the key.
func v1Key(d Dir, m *Mesh) (key envelope.MeshKey, ok bool) {
	if !m.Key.IsZero() {
		return key, false
	}
	text, err := os.ReadFile(d.Path(v1TokenName(m.Slug)))
	if err != nil {
		return key, false
	}
	token := strings.TrimSpace(string(text))
	link, err := ParseLink(token)
	if err != nil {
		link, err = parseToken(token)
	}
	if err != nil || link.Invite.MeshID != m.MeshID {
		return key, false // NoMeshKeyError tells the user what is missing
	}
	key, err = envelope.ParseMeshKey(link.Invite.MeshRootKey)
	return key, err == nil
}

// NoMeshKeyError reports that the mesh key is not on this machine.
type NoMeshKeyError struct{ Slug string }

func (e *NoMeshKeyError) Error() string {
	return fmt.Sprintf("this machine does not have the key of this mesh, which seals messages to groups; "+
		"put the v1 token or link that you joined with into %s beside the config file, or join again with a new link", v1TokenName(e.Slug))
}

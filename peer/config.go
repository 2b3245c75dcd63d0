package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Mesh is a joined mesh: its broker, and our member in it.
type Mesh struct {
	MeshID, MemberID string // the broker's ids
	Slug, Name       string
	Member           identity.KeyPair // the member's key pair
	BrokerURL        string           // URL of the WebSocket
	JoinedAt         time.Time
	Key              envelope.MeshKey // zero when unknown; then nothing can be sent to groups
	InviteVersion    int              // 0 when unknown

	extra map[string]json.RawMessage // fields of other programs, kept unchanged
}

// Config holds the joined meshes. Its file has the format that clients of protocol v1 use
// too; see docs/client.md. Config keeps fields that this package does not know.
type Config struct {
	Meshes []Mesh

	extra map[string]json.RawMessage
}

// configVersion is the only version of the file so far.
const configVersion = 1

// meshFields is a Mesh as the file stores it.
type meshFields struct {
	MeshID        string `json:"meshId"`
	MemberID      string `json:"memberId"`
	Slug          string `json:"slug"`
	Name          string `json:"name"`
	Pubkey        string `json:"pubkey"`
	SecretKey     string `json:"secretKey"`
	BrokerURL     string `json:"brokerUrl"`
	JoinedAt      string `json:"joinedAt"`
	RootKey       string `json:"rootKey,omitempty"`
	InviteVersion int    `json:"inviteVersion,omitempty"`
}

// parseConfig reads the file's text.
func parseConfig(b []byte) (*Config, error) {
	c := &Config{}
	if err := json.Unmarshal(b, &c.extra); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	var version int
	if raw, ok := c.extra["version"]; ok {
		if err := json.Unmarshal(raw, &version); err != nil || version != configVersion {
			return nil, fmt.Errorf("version %s is not supported, only %d is", raw, configVersion)
		}
	}
	var meshes []json.RawMessage
	if raw, ok := c.extra["meshes"]; ok {
		if err := json.Unmarshal(raw, &meshes); err != nil {
			return nil, fmt.Errorf("meshes: %w", err)
		}
	}
	for i, raw := range meshes {
		m, err := parseMesh(raw)
		if err != nil {
			return nil, fmt.Errorf("meshes[%d]: %w", i, err)
		}
		c.Meshes = append(c.Meshes, m)
	}
	return c, nil
}

func parseMesh(b []byte) (Mesh, error) {
	var f meshFields
	m := Mesh{}
	if err := json.Unmarshal(b, &m.extra); err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return m, err
	}
	m.MeshID, m.MemberID, m.Slug, m.Name = f.MeshID, f.MemberID, f.Slug, f.Name
	m.BrokerURL, m.InviteVersion = f.BrokerURL, f.InviteVersion
	if err := m.check(); err != nil {
		return m, err
	}
	var err error
	if m.Member, err = identity.ParseSecret(f.SecretKey); err != nil {
		return m, fmt.Errorf("secretKey: %w", err)
	}
	if f.Pubkey != m.Member.Public().String() {
		return m, fmt.Errorf("pubkey is not the public half of secretKey")
	}
	if f.RootKey != "" {
		if m.Key, err = envelope.ParseMeshKey(f.RootKey); err != nil {
			return m, fmt.Errorf("rootKey: %w", err)
		}
	}
	if f.JoinedAt != "" {
		var at wire.Time
		if err := at.UnmarshalText([]byte(f.JoinedAt)); err != nil {
			return m, fmt.Errorf("joinedAt: %w", err)
		}
		m.JoinedAt = at.Time
	}
	return m, nil
}

// MarshalJSON returns the config as its file stores it, with all secret keys.
func (c *Config) MarshalJSON() ([]byte, error) { return c.encode() }

// UnmarshalJSON reads the text of the file.
func (c *Config) UnmarshalJSON(b []byte) error {
	parsed, err := parseConfig(b)
	if err == nil {
		*c = *parsed
	}
	return err
}

// encode writes the file's text.
func (c *Config) encode() ([]byte, error) {
	meshes := make([]json.RawMessage, 0, len(c.Meshes))
	for i := range c.Meshes {
		raw, err := c.Meshes[i].encode()
		if err != nil {
			return nil, err
		}
		meshes = append(meshes, raw)
	}
	top := maps.Clone(c.extra)
	if top == nil {
		top = make(map[string]json.RawMessage)
	}
	if err := overlay(top, map[string]any{"version": configVersion, "meshes": meshes}); err != nil {
		return nil, err
	}
	b, err := ordered(top, []string{"version", "meshes"})
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, b, "", "  "); err != nil {
		return nil, fmt.Errorf("encode config: %w", err)
	}
	return append(indented.Bytes(), '\n'), nil
}

func (m *Mesh) encode() (json.RawMessage, error) {
	fields, err := toObject(meshFields{
		MeshID: m.MeshID, MemberID: m.MemberID, Slug: m.Slug, Name: m.Name,
		Pubkey: m.Member.Public().String(), SecretKey: m.Member.SecretHex(),
		BrokerURL: m.BrokerURL, JoinedAt: m.JoinedAt.UTC().Format(wire.TimeFormat),
		RootKey: m.Key.Encode(), InviteVersion: m.InviteVersion,
	})
	if err != nil {
		return nil, err
	}
	all := maps.Clone(m.extra)
	if all == nil {
		all = make(map[string]json.RawMessage)
	}
	if err := overlay(all, fields); err != nil {
		return nil, err
	}
	return ordered(all, []string{"meshId", "memberId", "slug", "name", "pubkey", "secretKey", "brokerUrl", "joinedAt", "rootKey", "inviteVersion"})
}

func overlay(dst map[string]json.RawMessage, src map[string]any) error {
	for name, v := range src {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode %s: %w", name, err)
		}
		dst[name] = raw
	}
	return nil
}

// ordered writes an object with the named fields first and the rest by name.
func ordered(fields map[string]json.RawMessage, first []string) (json.RawMessage, error) {
	names := slices.DeleteFunc(slices.Clone(first), func(n string) bool { _, ok := fields[n]; return !ok })
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(first, name) {
			names = append(names, name)
		}
	}
	b := []byte{'{'}
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, fmt.Errorf("encode %q: %w", name, err)
		}
		b = append(append(append(b, key...), ':'), fields[name]...)
	}
	return append(b, '}'), nil
}

// shortID is how many digits from the end of a mesh's id ShortID returns. Ids begin with
// the time, so ids made on one day begin alike.
const shortID = 8

// ShortID returns the end of the mesh's id. Config.Find accepts it.
func (m *Mesh) ShortID() string { return m.MeshID[max(0, len(m.MeshID)-shortID):] }

// Find returns the joined mesh with this name; see FindMesh.
func (c *Config) Find(name string) (*Mesh, error) { return FindMesh(c.list(), name) }

func (c *Config) list() []*Mesh {
	list := make([]*Mesh, len(c.Meshes))
	for i := range c.Meshes {
		list[i] = &c.Meshes[i]
	}
	return list
}

// Names returns a name for each joined mesh that Find accepts; see MeshNames.
func (c *Config) Names() []string { return MeshNames(c.list()) }

// FindMesh returns the mesh with this id or slug, or the only mesh whose id ends with
// name, if name has 8 digits or more. An empty name means the only mesh. FindMesh fails
// with a *MeshChoiceError if it does not find exactly one.
func FindMesh(meshes []*Mesh, name string) (*Mesh, error) {
	var found []*Mesh
	for _, fits := range []func(m *Mesh) bool{
		func(m *Mesh) bool { return name == "" || m.MeshID == name },
		func(m *Mesh) bool { return m.Slug == name },
		func(m *Mesh) bool { return len(name) >= shortID && strings.HasSuffix(m.MeshID, name) },
	} {
		for _, m := range meshes {
			if fits(m) {
				found = append(found, m)
			}
		}
		if len(found) > 0 || name == "" {
			break
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) == 0 {
		return nil, &MeshChoiceError{Name: name, Joined: MeshNames(meshes)}
	}
	return nil, &MeshChoiceError{Name: name, Found: len(found), Joined: MeshNames(found)}
}

// MeshNames returns a name for each mesh that FindMesh accepts: its slug, or the end of
// its id if several meshes have that slug.
func MeshNames(meshes []*Mesh) []string {
	names := make([]string, len(meshes))
	for i, m := range meshes {
		names[i] = m.Slug
		if slices.ContainsFunc(meshes, func(o *Mesh) bool { return o != m && o.Slug == m.Slug }) {
			names[i] = m.ShortID()
			if slices.ContainsFunc(meshes, func(o *Mesh) bool { return o != m && o.ShortID() == m.ShortID() }) {
				names[i] = m.MeshID
			}
		}
	}
	return names
}

// Forget removes a mesh from the config of dir. It returns the path of a backup file,
// which holds the config as it was, with the member's key.
func Forget(ctx context.Context, dir Dir, meshID string) (kept string, err error) {
	return updateConfig(ctx, dir, func(c *Config) error {
		c.Meshes = slices.DeleteFunc(c.Meshes, func(m Mesh) bool { return m.MeshID == meshID })
		return nil
	})
}

// Put adds a mesh. It replaces the mesh with the same id, if there is one.
func (c *Config) Put(m Mesh) {
	if i := c.index(m.MeshID); i >= 0 {
		m.extra = c.Meshes[i].extra
		c.Meshes[i] = m
	} else {
		c.Meshes = append(c.Meshes, m)
	}
}

// index returns the position of a mesh in the config, or -1.
func (c *Config) index(meshID string) int {
	return slices.IndexFunc(c.Meshes, func(m Mesh) bool { return m.MeshID == meshID })
}

package mesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// Create creates a mesh and returns it with its owner. The owner signs the request
// within 60 s of now. The caller decides whether strangers may create meshes.
//
// A signature creates only one mesh: Create remembers accepted signatures as long as
// their timestamps are valid, and refuses them as replayed. A client that got no answer
// signs again.
//
// Refusals: malformed, CodeBadName, timestamp_skew, bad_signature, replayed, and
// try_again after too many recent calls.
func (d *Directory) Create(ctx context.Context, c wire.CreateMesh, now time.Time) (Mesh, Member, error) {
	key, sig, err := checkCreate(c)
	if err != nil {
		return Mesh{}, Member{}, err
	}
	text := wire.CreateMeshSigningText(c.Slug, c.Name, c.DisplayName, key, c.Timestamp)
	if err := checkSigned(key, text, c.Timestamp, sig, now); err != nil {
		return Mesh{}, Member{}, err
	}
	switch err := d.replay.Accept(wire.Key{}, sig, now); {
	case errors.Is(err, identity.ErrReplayed):
		return Mesh{}, Member{}, refuseFor(wire.CodeReplayed, err)
	case err != nil:
		return Mesh{}, Member{}, refuseFor(wire.CodeTryAgain, err)
	}

	at := stamp(now)
	m := Mesh{ID: d.ids.New(now), Slug: c.Slug, Name: c.Name, Owner: key, CreatedAt: at}
	owner := Member{
		ID:          d.ids.New(now),
		MeshID:      m.ID,
		Key:         key,
		DisplayName: c.DisplayName,
		Role:        Owner,
		JoinedAt:    at,
	}
	if err := d.store.CreateMesh(ctx, m, owner); err != nil {
		return Mesh{}, Member{}, fmt.Errorf("create mesh: %w", err)
	}
	return m, owner, nil
}

func checkCreate(c wire.CreateMesh) (wire.Key, wire.Signature, error) {
	var sig wire.Signature
	if !wire.ValidSlug(c.Slug) {
		return wire.Key{}, sig, refuse(wire.CodeMalformed, "slug must be 1-%d of a-z, 0-9, '.', '_' and '-', without a leading dot", wire.MaxSlugLen)
	}
	for _, name := range []struct{ field, text string }{{"name", c.Name}, {"display_name", c.DisplayName}} {
		if !validName(name.text) {
			return wire.Key{}, sig, refuse(wire.CodeMalformed, "%s must be 1-%d bytes of printable UTF-8", name.field, wire.MaxNameLen)
		}
	}
	if why := alike.NoNewName(c.DisplayName); why != "" {
		return wire.Key{}, sig, refuse(CodeBadName, "a name can't %s", why)
	}
	key, err := parseKey("owner_pubkey", c.OwnerPubkey)
	if err != nil {
		return wire.Key{}, sig, err
	}
	if sig, err = wire.ParseSignature(c.Signature); err != nil {
		return wire.Key{}, sig, refuse(wire.CodeMalformed, "signature %s", err)
	}
	return key, sig, nil
}

package mesh

import (
	"context"
	"errors"

	"github.com/claudemesh/claudemesh/wire"
)

// MeshOfLink returns the mesh of an invite link, whether the link can still be used or not. It does
// not load the mesh. It returns the zero ID if there is no such link.
func (d *Directory) MeshOfLink(ctx context.Context, code string) (wire.ID, error) {
	if !validCode(code) {
		return wire.ID{}, nil
	}
	return whose(d.store.InviteByCode(ctx, code))
}

// MeshOfToken returns the mesh of the token of a join, whether the token can still be used or not.
// It does not load the mesh. It returns the zero ID if Join refuses the join whatever the mesh is.
func (d *Directory) MeshOfToken(ctx context.Context, j wire.Join) (wire.ID, error) {
	if j.TokenProof != "" {
		if proof, err := parseProof(j.TokenProof); err == nil {
			return whose(d.store.InviteByToken(ctx, hashProof(proof)))
		}
		return wire.ID{}, nil
	}
	if p, ok := openToken(j.InviteToken); ok {
		if id, err := wire.ParseID(p.MeshID); err == nil {
			return id, nil
		}
	}
	return wire.ID{}, nil
}

// whose returns the mesh of an invite that a storage was asked for.
func whose(inv Invite, err error) (wire.ID, error) {
	if errors.Is(err, ErrInviteNotFound) {
		return wire.ID{}, nil
	}
	return inv.MeshID, err
}

package peer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Joined is the outcome of Join.
type Joined struct {
	Mesh          Mesh
	Role          string // "" when the broker did not say
	AlreadyMember bool
	// Backup is the path of the file that keeps the config as it was, with the former key.
	// It is "" if the mesh had not been joined with another key.
	Backup string
}

// AlreadyJoinedError reports that the user has already joined the mesh of an invite.
type AlreadyJoinedError struct{ Mesh Mesh }

func (e *AlreadyJoinedError) Error() string {
	return fmt.Sprintf("you have already joined the mesh %s, with the key %s; the invite is still unused. To join as a second member with a new key, add --as-new-member; claudemesh keeps the old key in a file",
		e.Mesh.Slug, e.Mesh.Member.Public().String()[:16])
}

// Join redeems an invite link and adds the mesh to the config of dir. It writes the member
// key to disk before it sends it to the broker, and a second try uses the same key, so a
// broken connection does not use up a single-use invite. client may be nil. If the mesh is
// already joined, Join fails with an *AlreadyJoinedError before it uses the invite.
// Brokers of other implementations may not say which mesh a link is for.
func Join(ctx context.Context, dir Dir, link Link, displayName string, client *http.Client) (Joined, error) {
	if err := notJoined(ctx, dir, link, client); err != nil {
		return Joined{}, err
	}
	return JoinAnew(ctx, dir, link, displayName, client)
}

// notJoined returns an *AlreadyJoinedError if the mesh of the link is joined, and an *AwayError if the
// broker is away.
func notJoined(ctx context.Context, dir Dir, link Link, client *http.Client) error {
	config, err := LoadConfig(dir)
	if err != nil || len(config.Meshes) == 0 {
		return err
	}
	id := link.Invite.MeshID
	if link.Token == "" {
		page, err := HTTP{BrokerURL: link.BrokerURL, Client: client}.invite(ctx, link.Code)
		var away *AwayError
		if errors.As(err, &away) {
			return err // the claim would only wait as long again
		}
		// If something is wrong with the invite, the claim reports it.
		id = page.MeshID
	}
	for _, m := range config.Meshes {
		if m.MeshID == id && (link.Token == "" || !m.Key.IsZero()) {
			return &AlreadyJoinedError{m}
		}
	}
	return nil
}

// JoinAnew is like Join, but adds a second member to a mesh that is already joined.
// Joined.Backup keeps the former key.
func JoinAnew(ctx context.Context, dir Dir, link Link, displayName string, client *http.Client) (Joined, error) {
	displayName, err := CheckName(displayName)
	if err != nil {
		return Joined{}, err
	}
	key, done, err := pendingKey(ctx, dir, link)
	if err != nil {
		return Joined{}, err
	}
	h := HTTP{BrokerURL: link.BrokerURL, Client: client}
	redeem := redeemLink
	if link.Token != "" {
		redeem = redeemToken
	}
	joined, err := redeem(ctx, h, link, key, displayName)
	if err != nil {
		return Joined{}, err
	}
	joined.Mesh.Member = key
	joined.Mesh.BrokerURL = link.BrokerURL
	joined.Mesh.JoinedAt = time.Now()
	joined.Mesh.Name = shownName(joined.Mesh.Name, joined.Mesh.Slug)
	if err := joined.Mesh.check(); err != nil {
		return Joined{}, fmt.Errorf("the broker did not accept the invite: %w; ask the person who sent it to you", err)
	}
	joined.Backup, err = updateConfig(ctx, dir, func(c *Config) error {
		if i := c.index(joined.Mesh.MeshID); i >= 0 {
			if err := sameMesh(&c.Meshes[i], &joined.Mesh); err != nil {
				return err
			}
		}
		c.Put(joined.Mesh)
		return nil
	})
	if err != nil {
		return Joined{}, err
	}
	done()
	return joined, nil
}

// sameMesh refuses a link that would move a joined mesh to another broker or give it
// another key. Anybody who knows a mesh's id can make such a link.
func sameMesh(old, joined *Mesh) error {
	switch {
	case !old.Key.IsZero() && !old.Key.Equal(joined.Key):
		return fmt.Errorf("the link has another key for the mesh %s, which you have joined: don't trust it, ask the person who sent it", old.Slug)
	case old.BrokerURL != joined.BrokerURL:
		return fmt.Errorf("the link leads to %s, but you have joined the mesh %s at %s; if it has moved, change brokerUrl in the config by hand",
			joined.BrokerURL, old.Slug, old.BrokerURL)
	}
	return nil
}

func redeemLink(ctx context.Context, h HTTP, link Link, key identity.KeyPair, displayName string) (Joined, error) {
	r, err := h.Claim(ctx, link.Code, link.Secret.ClaimKey(), key, displayName, time.Now())
	if err != nil {
		return Joined{}, err
	}
	payload, err := link.Secret.OpenInvite(r.SealedRootKey)
	if err != nil {
		return Joined{}, fmt.Errorf("the broker's answer is not what the inviter sealed: %w", err)
	}
	if payload.MeshID != r.MeshID.String() || payload.OwnerPubkey != r.OwnerPubkey {
		return Joined{}, errors.New("the broker's answer is for another mesh than the invite")
	}
	meshKey, err := envelope.ParseMeshKey(payload.RootKey)
	if err != nil {
		return Joined{}, fmt.Errorf("open invite: %w", err)
	}
	return Joined{
		Mesh: Mesh{
			MeshID: payload.MeshID, MemberID: r.MemberID.String(), Slug: payload.Slug, Name: payload.Name,
			Key: meshKey, InviteVersion: 2,
		},
		Role:          r.Role,
		AlreadyMember: r.AlreadyMember,
	}, nil
}

func redeemToken(ctx context.Context, h HTTP, link Link, key identity.KeyPair, displayName string) (Joined, error) {
	p := &link.Invite
	r, err := h.Join(ctx, wire.Join{TokenProof: link.tokenProof(), PeerPubkey: key.Public().String(), DisplayName: displayName})
	if err != nil {
		return Joined{}, err
	}
	meshKey, err := envelope.ParseMeshKey(p.MeshRootKey)
	if err != nil {
		return Joined{}, fmt.Errorf("open invite: %w", err)
	}
	return Joined{
		Mesh: Mesh{
			MeshID: p.MeshID, MemberID: r.MemberID, Slug: p.MeshSlug, Name: p.MeshSlug,
			Key: meshKey, InviteVersion: 1,
		},
		Role:          p.Role,
		AlreadyMember: r.AlreadyMember,
	}, nil
}

// pendingKey returns the member key for the link: the key of a joined mesh whose mesh key
// is missing and is in the link, or the key of an earlier try, or a new key. The caller
// must call done when the key is safely in the config.
func pendingKey(ctx context.Context, dir Dir, link Link) (key identity.KeyPair, done func(), err error) {
	config, err := LoadConfig(dir)
	if err != nil {
		return key, nil, err
	}
	for i := range config.Meshes {
		if m := &config.Meshes[i]; link.Token != "" && m.MeshID == link.Invite.MeshID && m.Key.IsZero() {
			return m.Member, func() {}, nil
		}
	}
	sum := sha256.Sum256([]byte(link.BrokerURL + "\n" + link.Code + link.Token))
	name := "joining-" + hex.EncodeToString(sum[:8]) + ".key"
	lock, err := LockConfig(ctx, dir)
	if err != nil {
		return key, nil, err
	}
	defer lock.Unlock()
	done = func() { os.Remove(dir.Path(name)) }
	text, err := os.ReadFile(dir.Path(name))
	if err == nil {
		if key, err = identity.ParseSecret(string(text)); err == nil {
			return key, done, nil
		}
		// Keep the damaged file; somebody may be able to repair it.
		if err := os.Rename(dir.Path(name), dir.Path(name+".corrupt")); err != nil {
			return key, nil, fmt.Errorf("move the damaged key of an earlier try aside: %w", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return key, nil, fmt.Errorf("read key of an earlier try: %w", err)
	}
	if key, err = identity.Generate(); err != nil {
		return key, nil, err
	}
	return key, done, dir.WriteFile(name, []byte(key.SecretHex()))
}

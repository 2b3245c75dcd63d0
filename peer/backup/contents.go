package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

// Contents is the content of a backup: the user's keys and the members that the user knows. It
// contains no messages.
type Contents struct {
	CreatedAt time.Time       `json:"createdAt"`
	Host      string          `json:"host"` // name of the machine that made the backup
	Config    *peer.Config    `json:"config"`
	Kept      []Kept          `json:"kept"`
	Sessions  []Session       `json:"sessions"`
	Contacts  *inbox.Acquired `json:"contacts"`
}

// Kept is a previous config, with keys that were replaced.
type Kept struct {
	KeptAt time.Time    `json:"keptAt"`
	Config *peer.Config `json:"config"`
}

// Session is the key of a session in a mesh.
type Session struct {
	MeshSlug  string    `json:"meshSlug"`
	SessionID string    `json:"sessionId"`
	SecretKey string    `json:"secretKey"`
	CreatedAt time.Time `json:"createdAt"`
	LastUsed  time.Time `json:"lastUsed"`
}

// Collect gathers the contents from a config directory. problems lists what it could not read;
// that is missing in the backup.
func Collect(ctx context.Context, dir peer.Dir, host string, now time.Time) (c *Contents, problems []string, err error) {
	c = &Contents{CreatedAt: now.UTC(), Host: host}
	if c.Config, err = peer.LoadConfig(dir); err != nil {
		return nil, nil, err
	}
	kept, problems, err := peer.KeptKeys(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range kept {
		c.Kept = append(c.Kept, Kept{k.KeptAt, &peer.Config{Meshes: []peer.Mesh{k.Mesh}}})
	}
	store := identity.OpenSessionStore(peer.SessionsRoot(dir))
	stored, err := store.List()
	if err != nil {
		return nil, nil, err
	}
	for _, s := range stored {
		key, err := store.Stored(s.MeshSlug, s.SessionID)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			problems = append(problems, fmt.Sprintf("mesh %s: %v", s.MeshSlug, err))
		default:
			c.Sessions = append(c.Sessions, Session{s.MeshSlug, s.SessionID, key.Pair.SecretHex(), key.CreatedAt, s.LastUsed})
		}
	}
	mail, err := inbox.Open(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	defer mail.Close()
	c.Contacts, err = mail.Contacts().Acquired(ctx)
	return c, problems, err
}

// ConflictError means that the machine has other member keys than the backup for some meshes.
type ConflictError struct{ Slugs []string }

func (e *ConflictError) Error() string {
	return "the backup contains a different member key than this machine for " + strings.Join(e.Slugs, ", ")
}

// Restored says what Restore has done.
type Restored struct {
	Meshes, Sessions, Contacts int      // numbers of new entries
	Kept                       string   // file with the keys that were replaced; "" if there are none
	Left                       []string // sessions that already had another key here, and keep it
}

// Restore writes the contents of a backup into a config directory. If the directory has other
// member keys for some meshes, Restore fails with a *ConflictError and changes nothing. With
// replace, it uses the keys of the backup instead, and keeps the replaced keys. After a failure,
// a second call continues.
func Restore(ctx context.Context, dir peer.Dir, c *Contents, replace bool) (r Restored, err error) {
	if c.Config == nil {
		return r, errNotABackup
	}
	if err := dir.Make(); err != nil {
		return r, err
	}
	here, err := peer.LoadConfig(dir)
	if err != nil {
		return r, err
	}
	if slugs := conflicts(here, c.Config); len(slugs) > 0 && !replace {
		return r, &ConflictError{slugs}
	}
	if r.Sessions, r.Left, err = restoreSessions(dir, c.Sessions); err != nil {
		return r, err
	}
	if c.Contacts != nil {
		mail, err := inbox.Open(ctx, dir)
		if err != nil {
			return r, err
		}
		r.Contacts, err = mail.Contacts().Acquire(ctx, c.Contacts)
		if err = errors.Join(err, mail.Close()); err != nil {
			return r, err
		}
	}
	for _, k := range c.Kept {
		if k.Config == nil {
			continue
		}
		if err := peer.KeepKeys(ctx, dir, k.Config, k.KeptAt); err != nil {
			return r, err
		}
	}
	r.Meshes, r.Kept, err = peer.RestoreMeshes(ctx, dir, c.Config, replace)
	return r, err
}

// conflicts returns the slugs of the meshes in which two configs have different members.
func conflicts(here, there *peer.Config) (slugs []string) {
	for i := range there.Meshes {
		m := &there.Meshes[i]
		if slices.ContainsFunc(here.Meshes, func(h peer.Mesh) bool { return h.MeshID == m.MeshID && h.Member.Public() != m.Member.Public() }) {
			slugs = append(slugs, m.Slug)
		}
	}
	return slugs
}

func restoreSessions(dir peer.Dir, sessions []Session) (n int, left []string, err error) {
	store := identity.OpenSessionStore(peer.SessionsRoot(dir))
	for _, s := range sessions {
		pair, err := identity.ParseSecret(s.SecretKey)
		if err != nil || !wire.ValidSlug(s.MeshSlug) {
			return n, left, fmt.Errorf("%w: a session key is damaged", errNotABackup)
		}
		before, err := store.Stored(s.MeshSlug, s.SessionID)
		if err == nil && before.Pair.Public() != pair.Public() {
			left = append(left, s.MeshSlug+"/"+s.SessionID)
		}
		if err == nil {
			continue
		}
		if err := store.Put(s.MeshSlug, s.SessionID, identity.SessionKey{Pair: pair, CreatedAt: s.CreatedAt}); err != nil {
			return n, left, err
		}
		if err := store.Touch(s.MeshSlug, s.SessionID, s.LastUsed); err != nil {
			return n, left, err
		}
		n++
	}
	return n, left, nil
}

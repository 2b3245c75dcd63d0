package identity

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrOtherKey is returned for a session that already has another key.
var ErrOtherKey = errors.New("another key is stored for this session")

// Stored returns the key of a session that is on disk. The error is fs.ErrNotExist if
// there is none.
func (s SessionStore) Stored(slug, sessionID string) (key SessionKey, err error) {
	name, err := parseSessionName(slug, sessionID)
	if err != nil {
		return SessionKey{}, err
	}
	err = s.withFile(slug, sessionID, func(dir *sessionDir, file string) error {
		key, err = dir.read(name, file)
		return err
	})
	return key, err
}

// Put stores the key that a session has elsewhere. It replaces no key: it returns
// ErrOtherKey if the session has another key here.
func (s SessionStore) Put(slug, sessionID string, key SessionKey) error {
	name, err := parseSessionName(slug, sessionID)
	if err != nil {
		return err
	}
	stored, _, err := loadOrCreate(s.root, name, SessionKey{Pair: key.Pair, CreatedAt: key.CreatedAt})
	if err != nil {
		return fmt.Errorf("store the key of session %s: %w", name.id, err)
	}
	if stored.Pair.Public() != key.Pair.Public() {
		return fmt.Errorf("session %s of the mesh %s: %w", name.id, name.slug, ErrOtherKey)
	}
	return nil
}

// Copy copies the session keys of one mesh to another mesh and returns the ids of the
// sessions. It skips damaged files. If a session has another key in the other mesh,
// Copy returns ErrOtherKey.
func (s SessionStore) Copy(from, to string) (ids []string, err error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, stored := range list {
		if stored.MeshSlug != from || stored.Problem != "" {
			continue
		}
		key, err := s.Stored(from, stored.SessionID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in the meantime
		}
		if err == nil {
			err = s.Put(to, stored.SessionID, key)
		}
		if err == nil {
			err = s.Touch(to, stored.SessionID, stored.LastUsed)
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, stored.SessionID)
	}
	return ids, nil
}

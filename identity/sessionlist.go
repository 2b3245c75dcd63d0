package identity

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// StoredSession is a session whose key is on disk.
type StoredSession struct {
	MeshSlug  string
	SessionID string
	Pubkey    wire.Key // zero if there is a Problem
	CreatedAt time.Time
	LastUsed  time.Time // see SessionStore.Touch
	Problem   string    // why the file holds no key; "" if it holds one
}

// List returns the stored sessions, sorted by mesh and, within a mesh, most recently
// used first. It changes nothing; Key repairs wrong modes and damaged files.
func (s SessionStore) List() ([]StoredSession, error) {
	top, err := openRoot(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer top.Close()
	entries, err := fs.ReadDir(top.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list session keys: %w", err)
	}
	var list []StoredSession
	for _, entry := range entries {
		if !entry.IsDir() || !wire.ValidSlug(entry.Name()) {
			continue
		}
		of, err := listMesh(top, entry.Name())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		list = append(list, of...)
	}
	slices.SortFunc(list, func(a, b StoredSession) int {
		return cmp.Or(strings.Compare(a.MeshSlug, b.MeshSlug), b.LastUsed.Compare(a.LastUsed), strings.Compare(a.SessionID, b.SessionID))
	})
	return list, nil
}

func listMesh(top *os.Root, slug string) ([]StoredSession, error) {
	dir, err := openSessionDir(top, slug)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	files, err := dir.files()
	if err != nil {
		return nil, err
	}
	var list []StoredSession
	for id, file := range files {
		info, err := dir.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in the meantime
		}
		stored := StoredSession{MeshSlug: slug, SessionID: id}
		if err == nil {
			stored.LastUsed = info.ModTime().UTC()
			var key SessionKey
			key, err = dir.read(sessionName{slug, id}, file)
			stored.Pubkey, stored.CreatedAt = key.Pair.Public(), key.CreatedAt
		}
		if err != nil {
			stored.Problem = err.Error()
		}
		list = append(list, stored)
	}
	return list, nil
}

// Touch records that the session was used at now, as the modification time of its
// file. The error is fs.ErrNotExist if no key is stored for the session.
func (s SessionStore) Touch(slug, sessionID string, now time.Time) error {
	return s.withFile(slug, sessionID, func(dir *sessionDir, file string) error {
		// Chtimes would change the target of a symbolic link.
		if info, err := dir.Lstat(file); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("touch session key: %w", cmp.Or(err, fs.ErrInvalid))
		}
		if err := dir.Chtimes(file, now, now); err != nil {
			return fmt.Errorf("touch session key: %w", err)
		}
		return nil
	})
}

// Remove deletes the key of a session for good: nobody can open messages sealed to it
// again. It keeps damaged files that were set aside. The error is fs.ErrNotExist if no
// key is stored for the session.
func (s SessionStore) Remove(slug, sessionID string) error {
	return s.withFile(slug, sessionID, func(dir *sessionDir, file string) error {
		if err := dir.Remove(file); err != nil {
			return fmt.Errorf("remove session key: %w", err)
		}
		return syncHandle(dir.self)
	})
}

// withFile calls do with the name of a session's file.
func (s SessionStore) withFile(slug, sessionID string, do func(*sessionDir, string) error) error {
	name, err := parseSessionName(slug, sessionID)
	if err != nil {
		return err
	}
	top, err := openRoot(s.root)
	if err != nil {
		return err
	}
	defer top.Close()
	dir, err := openSessionDir(top, name.slug)
	if err != nil {
		return err
	}
	defer dir.close()
	file, err := dir.find(name)
	if err != nil {
		return err
	}
	return do(dir, file)
}

package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

var (
	// ErrBadSlug is returned for a mesh slug that can't name a directory of
	// session keys.
	ErrBadSlug = errors.New("slug must be 1-64 of a-z, 0-9, '.', '_' and '-', without a leading dot")

	// ErrBadSessionID is returned for a session id that isn't a UUID.
	ErrBadSessionID = errors.New("session id must be a UUID")

	// errOtherStored says that another process stored a key before this one could.
	errOtherStored = errors.New("another process has stored another key for this session")
)

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// ParseSessionID reads a Claude Code session id, a UUID in any case, and returns it in
// lower case, the form for storing and comparing. It returns ErrBadSessionID if s isn't
// a UUID.
func ParseSessionID(s string) (string, error) {
	if id := strings.ToLower(s); len(s) == len(id) && uuidPattern.MatchString(id) {
		return id, nil
	}
	return "", ErrBadSessionID
}

// SessionStore keeps the key pairs of sessions on disk, one for each mesh and session
// id, in a file format that clients of protocol v1 share. Several processes may use one
// directory at once. Copies of a SessionStore share their state.
type SessionStore struct {
	root    string
	unsaved *unsavedKeys
}

// OpenSessionStore returns the store in the directory root. It doesn't touch the disk;
// the store creates the directory together with its first key.
func OpenSessionStore(root string) SessionStore {
	return SessionStore{root: root, unsaved: &unsavedKeys{keys: make(map[sessionName]SessionKey)}}
}

// SessionKey is the key pair of a session.
type SessionKey struct {
	Pair      KeyPair
	CreatedAt time.Time
	Fresh     bool // whether this call created the key

	// Warnings lists the problems with modes and damaged files that the store found:
	// those that it repaired, and those that it leaves to the user.
	Warnings []string

	// Unsaved says why the key could not be stored; nil if it is stored. An unsaved
	// key lives as long as the SessionStore, or until a later call stores it.
	Unsaved error
}

// Key returns the key pair of a session of the mesh with that slug. The first call for
// a session, in any process, creates the key; later calls return the same key. It
// fails only with ErrBadSlug, with ErrBadSessionID, or if the system has no
// randomness.
func (s SessionStore) Key(slug, sessionID string) (SessionKey, error) {
	name, err := parseSessionName(slug, sessionID)
	if err != nil {
		return SessionKey{}, err
	}
	held, isHeld := s.unsaved.get(name)
	offer := held
	if !isHeld {
		if offer, err = freshSessionKey(); err != nil {
			return SessionKey{}, err
		}
	}
	key, warnings, err := loadOrCreate(s.root, name, offer)
	if err == nil && isHeld && key.Pair.Public() != held.Pair.Public() {
		err = errOtherStored
	}
	if err == nil {
		s.unsaved.drop(name)
	} else {
		key = s.unsaved.keep(name, offer)
		key.Unsaved = fmt.Errorf("keep the key of session %s: %w", name.id, err)
	}
	key.Warnings = warnings
	return key, nil
}

// freshSessionKey creates a key. Its time has the precision of the file.
func freshSessionKey() (SessionKey, error) {
	pair, err := Generate()
	if err != nil {
		return SessionKey{}, err
	}
	return SessionKey{Pair: pair, CreatedAt: time.Now().UTC().Truncate(time.Millisecond), Fresh: true}, nil
}

// sessionName identifies a key: a valid slug and a lower-case UUID.
type sessionName struct{ slug, id string }

func parseSessionName(slug, sessionID string) (sessionName, error) {
	if !wire.ValidSlug(slug) {
		return sessionName{}, ErrBadSlug
	}
	id, err := ParseSessionID(sessionID)
	return sessionName{slug, id}, err
}

// file returns the usual name of the key's file. Another client may have chosen
// another case.
func (n sessionName) file() string { return n.id + sessionSuffix }

// unsavedKeys holds the keys that could not be stored on disk.
type unsavedKeys struct {
	mu   sync.Mutex
	keys map[sessionName]SessionKey // guarded by mu
}

func (u *unsavedKeys) get(name sessionName) (SessionKey, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key, ok := u.keys[name]
	return key, ok
}

// keep remembers the key unless the session has one already, and returns the session's
// key.
func (u *unsavedKeys) keep(name sessionName, key SessionKey) SessionKey {
	u.mu.Lock()
	defer u.mu.Unlock()
	if old, ok := u.keys[name]; ok {
		return old
	}
	u.keys[name] = SessionKey{Pair: key.Pair, CreatedAt: key.CreatedAt}
	return key
}

func (u *unsavedKeys) drop(name sessionName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.keys, name)
}

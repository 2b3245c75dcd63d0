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
	ErrBadSlug = errors.New("slug must be 1-64 of a-z, 0-9, '.', '_' and '-', with no dot at the start")

	// ErrBadSessionID is returned for a session id that is no UUID.
	ErrBadSessionID = errors.New("session id must be a UUID")

	// errOtherStored tells that the key in memory is too late for the disk.
	errOtherStored = errors.New("another key was stored for this session in the meantime")
)

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// ParseSessionID returns a Claude Code session id, a UUID in any case, as it is
// stored and compared: in lower case. It fails with ErrBadSessionID.
func ParseSessionID(s string) (string, error) {
	if id := strings.ToLower(s); len(s) == len(id) && uuidPattern.MatchString(id) {
		return id, nil
	}
	return "", ErrBadSessionID
}

// SessionStore keeps the key pairs of sessions on disk, one for each mesh and
// session id, in the files of protocol v1, section 6. Several processes may use
// one directory at once. Copies of a SessionStore are the same store.
type SessionStore struct {
	root    string
	unsaved *unsavedKeys
}

// OpenSessionStore returns the store in the directory root, which is made when
// the first key is. It does not touch the disk.
func OpenSessionStore(root string) SessionStore {
	return SessionStore{root: root, unsaved: &unsavedKeys{keys: make(map[sessionName]SessionKey)}}
}

// SessionKey is the key pair of a session.
type SessionKey struct {
	Pair      KeyPair
	CreatedAt time.Time
	Fresh     bool // this call has made it

	// Warnings tell what was wrong with the disk and is right now, or is for the
	// user to set right: modes, damaged files.
	Warnings []string

	// Unsaved is why the key could not be stored; nil when it is. Such a key lasts
	// as long as the SessionStore, or until a later call can store it.
	Unsaved error
}

// Key returns the key pair of a session of the mesh with that slug. The first
// call for a session, in whichever process, makes it; the others get the same. It
// fails only with ErrBadSlug and ErrBadSessionID, and when the system has no
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

// freshSessionKey makes a key, as precise in time as the file is.
func freshSessionKey() (SessionKey, error) {
	pair, err := Generate()
	if err != nil {
		return SessionKey{}, err
	}
	return SessionKey{Pair: pair, CreatedAt: time.Now().UTC().Truncate(time.Millisecond), Fresh: true}, nil
}

// sessionName is what a key belongs to: a valid slug and a lower-case UUID.
type sessionName struct{ slug, id string }

func parseSessionName(slug, sessionID string) (sessionName, error) {
	if !wire.ValidSlug(slug) {
		return sessionName{}, ErrBadSlug
	}
	id, err := ParseSessionID(sessionID)
	return sessionName{slug, id}, err
}

// file returns the name of the key's file, if nobody has chosen another case.
func (n sessionName) file() string { return n.id + sessionSuffix }

// unsavedKeys are those that the disk refused.
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

// keep remembers the key unless there is one, and returns the one that there is.
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

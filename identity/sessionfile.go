package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	sessionSuffix  = ".json"
	sessionVersion = 1

	// maxSessionFile bounds a file's size in bytes. Our files have about 500.
	maxSessionFile = 64 << 10
)

// sessionFields is the JSON of a key file.
type sessionFields struct {
	Version   int    `json:"version"`
	MeshSlug  string `json:"meshSlug"`
	SessionID string `json:"sessionId"`
	PublicKey string `json:"publicKey"`
	SecretKey string `json:"secretKey"`
	CreatedAt string `json:"createdAt"`
}

// encodeSession returns the content of a key file.
func encodeSession(name sessionName, key SessionKey) ([]byte, error) {
	b, err := json.MarshalIndent(sessionFields{
		Version: sessionVersion, MeshSlug: name.slug, SessionID: name.id,
		PublicKey: key.Pair.Public().String(), SecretKey: key.Pair.SecretHex(),
		CreatedAt: key.CreatedAt.UTC().Format(wire.TimeFormat),
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode session key: %w", err)
	}
	return append(b, '\n'), nil
}

// parseSession reads the content of the key file of name. It ignores unknown fields.
// If createdAt is missing or malformed, CreatedAt is zero. No error quotes the file.
func parseSession(b []byte, name sessionName) (SessionKey, error) {
	if len(b) == 0 {
		return SessionKey{}, errors.New("it is empty")
	}
	var f sessionFields
	if err := json.Unmarshal(b, &f); err != nil {
		return SessionKey{}, errors.New("it isn't the JSON of a session key")
	}
	switch {
	case f.Version != sessionVersion:
		return SessionKey{}, fmt.Errorf("its version is %d, not %d", f.Version, sessionVersion)
	case f.MeshSlug != name.slug:
		return SessionKey{}, errors.New("it belongs to another mesh")
	case !strings.EqualFold(f.SessionID, name.id):
		return SessionKey{}, errors.New("it belongs to another session")
	}
	pair, err := ParseSecret(f.SecretKey)
	if err != nil {
		return SessionKey{}, err
	}
	if f.PublicKey != pair.Public().String() {
		return SessionKey{}, errors.New("its public key doesn't match its secret key")
	}
	key := SessionKey{Pair: pair}
	if at, err := time.Parse(time.RFC3339Nano, f.CreatedAt); err == nil {
		key.CreatedAt = at.UTC()
	}
	return key, nil
}

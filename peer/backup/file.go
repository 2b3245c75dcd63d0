package backup

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/text/unicode/norm"
)

const (
	// magic is the first line of the file. The number is the version of the format.
	magic = "claudemesh-backup 1"

	kdf      = "argon2id"
	saltSize = 16
	lineLen  = 76

	// MaxSize is the maximum length of a file in bytes.
	MaxSize = 64 << 20

	// MinPassphrase is the minimum length of a passphrase in bytes.
	MinPassphrase = 8
)

var (
	// errNotABackup means that a file isn't a backup, or is damaged.
	errNotABackup = errors.New("the file isn't a claudemesh backup, or is damaged")

	// errCannotOpen means that the passphrase is wrong, or that the file was changed.
	errCannotOpen = errors.New("can't open the backup: the passphrase is wrong, or the file was changed")
)

// cost holds the parameters of the key derivation.
type cost struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
}

// usual is the second recommended option of RFC 9106.
var usual = cost{memory: 64 << 10, passes: 3, lanes: 4}

// Limits of the cost in a file, so that a hostile file can't exhaust the machine.
const (
	maxMemory = 1 << 20 // KiB
	maxPasses = 16
	maxLanes  = 16
	minMemory = 8 // KiB for each lane
)

func (c cost) check() error {
	switch {
	case c.passes < 1 || c.passes > maxPasses, c.lanes < 1 || c.lanes > maxLanes:
		return fmt.Errorf("%w: it needs %d passes and %d lanes, but at most %d and %d are allowed", errNotABackup, c.passes, c.lanes, maxPasses, maxLanes)
	case c.memory < minMemory*uint32(c.lanes) || c.memory > maxMemory:
		return fmt.Errorf("%w: it needs %d KiB of memory, but %d to %d are allowed", errNotABackup, c.memory, minMemory*uint32(c.lanes), maxMemory)
	}
	return nil
}

// header is the unencrypted part of a file.
type header struct {
	cost
	salt []byte
}

func (h *header) text() string {
	return fmt.Sprintf("%s\n%s %d %d %d %s\n", magic, kdf, h.memory, h.passes, h.lanes, base64.RawStdEncoding.EncodeToString(h.salt))
}

// Seal returns the text of a file that can be opened only with the passphrase.
func Seal(c *Contents, passphrase string) ([]byte, error) {
	return seal(c, passphrase, usual)
}

func seal(c *Contents, passphrase string, k cost) ([]byte, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fmt.Errorf("the passphrase is too short: %d bytes, at least %d are needed", len(passphrase), MinPassphrase)
	}
	plain, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode backup: %w", err)
	}
	h := header{k, make([]byte, saltSize)}
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(h.salt) // never fails (crypto/rand)
	rand.Read(nonce)
	aead, err := h.key(passphrase)
	if err != nil {
		return nil, fmt.Errorf("seal backup: %w", err)
	}
	text := base64.StdEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, []byte(h.text())))
	var file bytes.Buffer
	file.WriteString(h.text())
	for len(text) > 0 {
		n := min(lineLen, len(text))
		file.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	if file.Len() > MaxSize {
		return nil, fmt.Errorf("the backup is too large: %d bytes, at most %d are possible", file.Len(), MaxSize)
	}
	return file.Bytes(), nil
}

// Check checks the parts of a file that need no passphrase. It fails if the file is not a backup,
// or if it has another version.
func Check(file []byte) error {
	_, _, err := parse(file)
	return err
}

// Open reads the text of a file. It fails if the file is not a backup, or if the passphrase does
// not open it.
func Open(file []byte, passphrase string) (*Contents, error) {
	h, sealed, err := parse(file)
	if err != nil {
		return nil, err
	}
	aead, err := h.key(passphrase)
	if err != nil {
		return nil, fmt.Errorf("open backup: %w", err)
	}
	nonce := sealed[:chacha20poly1305.NonceSizeX]
	plain, err := aead.Open(nil, nonce, sealed[len(nonce):], []byte(h.text()))
	if err != nil {
		return nil, errCannotOpen
	}
	var c Contents
	if err := json.Unmarshal(plain, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotABackup, err)
	}
	return &c, nil
}

// parse parses the parts of a file that need no passphrase.
func parse(file []byte) (h header, sealed []byte, err error) {
	if len(file) > MaxSize {
		return h, nil, fmt.Errorf("%w: it is longer than %d bytes", errNotABackup, MaxSize)
	}
	first, rest, _ := bytes.Cut(bytes.ReplaceAll(file, []byte("\r\n"), []byte("\n")), []byte("\n"))
	if version, ok := strings.CutPrefix(string(first), "claudemesh-backup "); ok && string(first) != magic {
		if _, err := strconv.ParseUint(version, 10, 16); err == nil {
			return h, nil, fmt.Errorf("the backup has version %s, but this claudemesh only reads version 1; install a newer claudemesh", version)
		}
	}
	if string(first) != magic {
		return h, nil, errNotABackup
	}
	second, body, _ := bytes.Cut(rest, []byte("\n"))
	if h, err = parseHeader(string(second)); err != nil {
		return h, nil, err
	}
	sealed, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body))) // skips the line breaks
	if err != nil || len(sealed) < chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead {
		return h, nil, fmt.Errorf("%w: its end is missing", errNotABackup)
	}
	return h, sealed, nil
}

// parseHeader reads the second line.
func parseHeader(line string) (h header, err error) {
	words := strings.Split(line, " ")
	if len(words) != 5 || words[0] != kdf {
		return h, errNotABackup
	}
	var numbers [3]uint64
	for i, bits := range []int{32, 32, 8} {
		if numbers[i], err = strconv.ParseUint(words[1+i], 10, bits); err != nil {
			return h, fmt.Errorf("%w: %q isn't a valid number", errNotABackup, words[1+i])
		}
	}
	h.cost = cost{uint32(numbers[0]), uint32(numbers[1]), uint8(numbers[2])}
	if err := h.check(); err != nil {
		return h, err
	}
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(words[4]); err != nil || len(h.salt) != saltSize {
		return h, fmt.Errorf("%w: its salt is damaged", errNotABackup)
	}
	return h, nil
}

// key derives the cipher from a passphrase. It normalizes the passphrase first, so that the
// Unicode form in which a keyboard writes its letters doesn't matter.
func (h *header) key(passphrase string) (cipher.AEAD, error) {
	return chacha20poly1305.NewX(argon2.IDKey([]byte(norm.NFC.String(passphrase)), h.salt, h.passes, h.memory, h.lanes, chacha20poly1305.KeySize))
}

package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudemesh/claudemesh/wire"
)

// A signed note is a text with signatures (C2SP signed-note). There are two kinds of notes about a
// log: a checkpoint says what the head of the log is at a size (C2SP tlog-checkpoint), and the
// announcement of a restore says after which entry the log continues.

// ErrBadNote is returned for an invalid note: it is malformed, is about another log, or is not
// signed by the key.
var ErrBadNote = errors.New("not a valid note of this audit log")

// maxNote is the size in bytes that a note may have. Ours have less than 300; the rest is
// for signatures of witnesses.
const maxNote = 64 << 10

// restoredSuffix follows the origin in the first line of the announcement of a restore.
const restoredSuffix = "/restored"

// Checkpoint returns the signed checkpoint of a head. Sign only what is stored: a broker that
// has signed two heads of one size has proven that it lies.
func (k Key) Checkpoint(meshID wire.ID, head Head) string {
	return k.sign(meshID, Origin(meshID)+"\n"+headLines(head))
}

// Restore is what an operator announces after a restore from a backup: the log goes on after
// Head, and the entries that followed it before are gone.
type Restore struct {
	Head Head      `json:"head"`
	At   time.Time `json:"at"` // to the millisecond
}

// Announce returns the signed announcement of a restore.
func (k Key) Announce(meshID wire.ID, r Restore) string {
	return k.sign(meshID, Origin(meshID)+restoredSuffix+"\n"+headLines(r.Head)+strconv.FormatInt(r.At.UnixMilli(), 10)+"\n")
}

func headLines(h Head) string {
	return strconv.FormatInt(h.Seq, 10) + "\n" + base64.StdEncoding.EncodeToString(h.Hash[:]) + "\n"
}

// OpenCheckpoint verifies a checkpoint of the mesh's log and returns its head. The error is
// ErrBadNote, with the reason.
func OpenCheckpoint(verifier string, meshID wire.ID, signed string) (Head, error) {
	lines, err := open(verifier, meshID, signed, "")
	if err != nil {
		return Head{}, err
	}
	return parseHead(lines) // more lines are extensions, which mean nothing to us
}

// OpenRestore verifies the announcement of a restore of the mesh's log. The error is
// ErrBadNote, with the reason.
func OpenRestore(verifier string, meshID wire.ID, signed string) (Restore, error) {
	lines, err := open(verifier, meshID, signed, restoredSuffix)
	if err != nil {
		return Restore{}, err
	}
	head, err := parseHead(lines)
	if err != nil {
		return Restore{}, err
	}
	if len(lines) < 3 {
		return Restore{}, fmt.Errorf("%w: it has no time", ErrBadNote)
	}
	at, err := parseNumber(lines[2])
	if err != nil {
		return Restore{}, fmt.Errorf("%w: its time is %w", ErrBadNote, err)
	}
	return Restore{Head: head, At: time.UnixMilli(at).UTC()}, nil
}

func newVerifier(text string, meshID wire.ID) (note.Verifier, error) {
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("%w: its verifier key: %w", ErrBadNote, err)
	}
	if v.Name() != Origin(meshID) {
		return nil, fmt.Errorf("%w: its verifier key belongs to %q", ErrBadNote, v.Name())
	}
	return v, nil
}

// open verifies a note and returns the lines after the first, which names the log.
func open(verifier string, meshID wire.ID, signed, suffix string) ([]string, error) {
	v, err := newVerifier(verifier, meshID)
	if err != nil {
		return nil, err
	}
	if len(signed) > maxNote {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrBadNote, len(signed))
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadNote, err)
	}
	lines := strings.Split(strings.TrimSuffix(n.Text, "\n"), "\n")
	for _, line := range lines {
		if line == "" {
			return nil, fmt.Errorf("%w: it has an empty line", ErrBadNote)
		}
	}
	if lines[0] != Origin(meshID)+suffix {
		return nil, fmt.Errorf("%w: its first line is %q", ErrBadNote, lines[0])
	}
	return lines[1:], nil
}

// parseHead reads the size and the hash from the first two lines.
func parseHead(lines []string) (h Head, err error) {
	if len(lines) < 2 {
		return Head{}, fmt.Errorf("%w: it has no size or no hash", ErrBadNote)
	}
	if h.Seq, err = parseNumber(lines[0]); err != nil {
		return Head{}, fmt.Errorf("%w: its size is %w", ErrBadNote, err)
	}
	hash, err := base64.StdEncoding.Strict().DecodeString(lines[1])
	if err != nil || len(hash) != len(h.Hash) {
		return Head{}, fmt.Errorf("%w: its hash is not the base64 of %d bytes", ErrBadNote, len(h.Hash))
	}
	copy(h.Hash[:], hash)
	if (h.Seq == 0) != (h.Hash == Hash{}) {
		return Head{}, fmt.Errorf("%w: its hash doesn't go with its size", ErrBadNote)
	}
	return h, nil
}

// parseNumber reads a number that is written in the only possible way.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q", s)
	}
	return n, nil
}

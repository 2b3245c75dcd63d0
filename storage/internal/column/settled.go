package column

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// Settled packs the recipients of a new message that are no longer Pending. They never
// change again and are read only with their message, so they are stored in the message's
// row. Settled returns nil if there are none.
//
// The packed form begins with settledVersion. Then it has, for each recipient: a byte of
// flags; seq as a uvarint; the time in Unix milliseconds as a varint; the key, if there is
// one; the mailbox, unless the key implies it; and the name. A text is preceded by its
// length.
func Settled(m *queue.Accepted) []byte {
	var b []byte
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.State == queue.Pending {
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, 80*(len(m.Recipients)-i)), settledVersion)
		}
		b = appendSettled(b, r)
	}
	return b
}

const settledVersion = 1

// These are the flags of a packed recipient.
const (
	settledState   = 0b11 // a queue.State
	settledSame    = 1 << 2
	settledTime    = 1 << 3
	settledKey     = 1 << 4
	settledSession = 1 << 5 // the mailbox is that of the session with the key
)

func appendSettled(b []byte, r *queue.Recipient) []byte {
	flags := byte(r.State) & settledState
	if r.SameMember {
		flags |= settledSame
	}
	if !r.SettledAt.IsZero() {
		flags |= settledTime
	}
	if !r.Key.IsZero() {
		flags |= settledKey
		if r.Mailbox.Name == string(presence.SessionIdentity(r.Key)) {
			flags |= settledSession
		}
	}
	b = binary.AppendUvarint(append(b, flags), uint64(r.Seq))
	if flags&settledTime != 0 {
		b = binary.AppendVarint(b, r.SettledAt.UnixMilli())
	}
	if flags&settledKey != 0 {
		b = append(b, r.Key[:]...)
	}
	if flags&settledSession == 0 {
		b = appendText(b, r.Mailbox.Name)
	}
	return appendText(b, r.Name)
}

func appendText(b []byte, s string) []byte {
	s = Text(s)
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// intoSettled scans the result of Settled; NULL means no recipients. Mailboxes get the
// mesh that *mesh contains by then: databases scan a row's columns in order.
func intoSettled(dst *[]queue.Recipient, mesh *wire.ID) sql.Scanner {
	return scanner(func(src any) (err error) {
		*dst = nil
		switch v := src.(type) {
		case nil:
			return nil
		case []byte:
			*dst, err = unpackSettled(v, *mesh)
			return err
		}
		return fmt.Errorf("recipients are stored as %T", src)
	})
}

func unpackSettled(b []byte, mesh wire.ID) (list []queue.Recipient, err error) {
	if len(b) == 0 || b[0] != settledVersion {
		return nil, errors.New("packed recipients come from a newer broker or are damaged")
	}
	for p := (packed{bytes.NewReader(b[1:])}); p.Len() > 0; {
		r, err := p.recipient()
		if err != nil {
			return nil, fmt.Errorf("packed recipient %d: %w", len(list)+1, err)
		}
		r.Mailbox.Mesh = mesh
		list = append(list, r)
	}
	return list, nil
}

// packed decodes recipients.
type packed struct{ *bytes.Reader }

func (p packed) recipient() (r queue.Recipient, err error) {
	flags, err := p.ReadByte()
	if err != nil {
		return r, err
	}
	r.State, r.SameMember = queue.State(flags&settledState), flags&settledSame != 0
	seq, err := binary.ReadUvarint(p)
	if err != nil {
		return r, err
	}
	r.Seq = int64(seq)
	if flags&settledTime != 0 {
		at, err := binary.ReadVarint(p)
		if err != nil {
			return r, err
		}
		r.SettledAt = time.UnixMilli(at).UTC()
	}
	if flags&settledKey != 0 {
		if _, err := io.ReadFull(p, r.Key[:]); err != nil {
			return r, err
		}
	}
	if flags&settledSession != 0 {
		r.Mailbox.Name = string(presence.SessionIdentity(r.Key))
	} else if r.Mailbox.Name, err = p.text(); err != nil {
		return r, err
	}
	r.Name, err = p.text()
	return r, err
}

func (p packed) text() (string, error) {
	n, err := binary.ReadUvarint(p)
	if err != nil {
		return "", err
	}
	if n > uint64(p.Len()) {
		return "", io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	_, err = io.ReadFull(p, b)
	return string(b), err
}

package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/claudemesh/claudemesh/wire"
)

// kind is what a stream between two nodes carries.
type kind string

const (
	kindSocket kind = "socket" // the bytes of a WebSocket, after the upgrade
	kindCall   kind = "call"   // one HTTP request and its answer
	kindLeave  kind = "leave"  // nothing: asks to close the sockets of this link, because the sender stops
)

// preface is the first thing on a stream: two bytes of length, then JSON. A node ignores fields
// that it does not know, so nodes of two versions understand each other.
type preface struct {
	Kind   kind       `json:"kind"`
	Mesh   wire.ID    `json:"mesh,omitzero"`
	Client netip.Addr `json:"client,omitzero"` // as the node that has its connection sees it
	Trace  string     `json:"trace,omitempty"` // traceparent of the request that opened the socket, if that is traced
}

// maxPreface is the maximum size of a preface in bytes.
const maxPreface = 1 << 10

func writePreface(w io.Writer, p preface) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the preface: %w", err)
	}
	if len(text) > maxPreface {
		return errors.New("the preface is too long")
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
	return err
}

// readPreface reads no more than the preface.
func readPreface(r io.Reader) (preface, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return preface{}, fmt.Errorf("read the preface: %w", err)
	}
	size := binary.BigEndian.Uint16(length[:])
	if size > maxPreface {
		return preface{}, fmt.Errorf("the preface has %d bytes; at most %d are allowed", size, maxPreface)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return preface{}, fmt.Errorf("read the preface: %w", err)
	}
	var p preface
	if err := json.Unmarshal(text, &p); err != nil {
		return preface{}, fmt.Errorf("the preface is malformed: %w", err)
	}
	return p, nil
}

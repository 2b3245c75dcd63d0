package wire

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Attestation is a member's signed statement that a session key belongs to it, with
// keys and signature as received.
type Attestation struct {
	SessionPubkey      string `json:"sessionPubkey"`
	ParentMemberPubkey string `json:"parentMemberPubkey"`
	ExpiresAt          int64  `json:"expiresAt"` // Unix ms
	Signature          string `json:"signature"`
}

// attestation reads a nested attestation. It leaves missing and mistyped fields
// zero: verification then fails.
func attestation(f *fields) *Attestation {
	a := &Attestation{
		SessionPubkey:      f.str("sessionPubkey"),
		ParentMemberPubkey: f.str("parentMemberPubkey"),
		Signature:          f.str("signature"),
	}
	a.ExpiresAt, _ = f.integer("expiresAt")
	return a
}

// appendJSON appends the attestation as an object to b.
func (a *Attestation) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"sessionPubkey":`...), a.SessionPubkey)
	b = appendString(append(b, `,"parentMemberPubkey":`...), a.ParentMemberPubkey)
	b = strconv.AppendInt(append(b, `,"expiresAt":`...), a.ExpiresAt, 10)
	return append(appendString(append(b, `,"signature":`...), a.Signature), '}')
}

// CompactAttestationSize is the length of a compact attestation, in bytes.
const CompactAttestationSize = 8 + SignatureSize

// Compact encodes the attestation without its two keys, for storage next to them:
// ExpiresAt, big-endian, then the signature. It returns nil for a nil attestation
// and for one with a malformed signature.
func (a *Attestation) Compact() []byte {
	if a == nil {
		return nil
	}
	b := make([]byte, CompactAttestationSize)
	binary.BigEndian.PutUint64(b, uint64(a.ExpiresAt))
	if !decodeLowerHex(b[8:], a.Signature) {
		return nil
	}
	return b
}

// ExpandAttestation reverses Compact. It returns nil when compact is empty, and an
// error when compact has another length than CompactAttestationSize.
func ExpandAttestation(session, member Key, compact []byte) (*Attestation, error) {
	if len(compact) == 0 {
		return nil, nil
	}
	if len(compact) != CompactAttestationSize {
		return nil, fmt.Errorf("compact attestation has %d bytes, want %d", len(compact), CompactAttestationSize)
	}
	return &Attestation{
		SessionPubkey:      session.String(),
		ParentMemberPubkey: member.String(),
		ExpiresAt:          int64(binary.BigEndian.Uint64(compact)),
		Signature:          Signature(compact[8:]).String(),
	}, nil
}

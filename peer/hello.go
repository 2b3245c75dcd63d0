package peer

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// helloFrame is hello and session_hello; they share most of their fields.
type helloFrame struct {
	Type      string `json:"type"`
	MeshID    string `json:"meshId"`
	Timestamp int64  `json:"timestamp"` // Unix ms
	Signature string `json:"signature"`

	// hello
	MemberID string `json:"memberId,omitempty"`
	Pubkey   string `json:"pubkey,omitempty"`

	// session_hello
	ParentMemberID     string            `json:"parentMemberId,omitempty"`
	ParentMemberPubkey string            `json:"parentMemberPubkey,omitempty"`
	SessionPubkey      string            `json:"sessionPubkey,omitempty"`
	Attestation        *wire.Attestation `json:"parentAttestation,omitempty"`
	Role               string            `json:"role,omitempty"`
	Succeeds           []wire.Succession `json:"succeeds,omitempty"`

	AuditSize *int64 `json:"auditSize,omitempty"` // of hello

	SessionID    string       `json:"sessionId"`
	PID          int64        `json:"pid"`
	Cwd          string       `json:"cwd"`
	DisplayName  string       `json:"displayName,omitempty"`
	Hostname     string       `json:"hostname,omitempty"`
	PeerType     string       `json:"peerType,omitempty"`
	Channel      string       `json:"channel,omitempty"`
	Model        string       `json:"model,omitempty"`
	Groups       []wire.Group `json:"groups,omitempty"`
	Capabilities []string     `json:"capabilities,omitempty"`
}

// hello makes the first frame of a connection. It is signed at now.
func (o *Options) hello(now time.Time) ([]byte, error) {
	a := &o.About
	h := helloFrame{
		MeshID:       o.Mesh.MeshID,
		SessionID:    a.SessionID,
		PID:          a.PID,
		Cwd:          a.Cwd,
		DisplayName:  a.DisplayName,
		Hostname:     a.Hostname,
		PeerType:     a.PeerType,
		Channel:      a.Channel,
		Model:        a.Model,
		Groups:       a.Groups,
		Capabilities: slices.Clone(a.Capabilities),
	}
	if !o.Mesh.Key.IsZero() {
		h.Capabilities = append(h.Capabilities, wire.CapSealedGroups)
	}
	if o.OnRoster != nil {
		h.Capabilities = append(h.Capabilities, wire.CapRosterChanged)
	}
	member := o.Mesh.Member
	var sig wire.Signature
	if o.Session.IsZero() {
		h.Type = wire.TypeHello
		h.MemberID = o.Mesh.MemberID
		h.Pubkey = member.Public().String()
		h.Timestamp, sig = identity.SignHello(member, h.MeshID, h.MemberID, now)
		if o.Checkpoints != nil {
			size := o.Checkpoints.Size()
			h.AuditSize = &size
		}
	} else {
		h.Type = wire.TypeSessionHello
		h.ParentMemberID = o.Mesh.MemberID
		h.ParentMemberPubkey = member.Public().String()
		h.SessionPubkey = o.Session.Public().String()
		h.Role = a.Role
		attestation := identity.Attest(member, o.Session.Public(), now.Add(identity.DefaultAttestationTTL))
		h.Attestation = &wire.Attestation{
			SessionPubkey:      h.SessionPubkey,
			ParentMemberPubkey: h.ParentMemberPubkey,
			ExpiresAt:          attestation.ExpiresAt,
			Signature:          attestation.Signature.String(),
		}
		h.Succeeds = o.successions()
		h.Timestamp, sig = identity.SignSessionHello(o.Session, h.MeshID, member.Public(), now)
	}
	h.Signature = sig.String()
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", h.Type, err)
	}
	return b, nil
}

// successions returns the signed statements of earlier sessions that this session succeeds
// them.
func (o *Options) successions() []wire.Succession {
	var list []wire.Succession
	for _, f := range o.Formerly {
		if len(list) < wire.MaxSuccessions {
			sig := identity.SignSuccession(f.Pair, o.Mesh.MeshID, o.Session.Public())
			list = append(list, wire.Succession{SessionPubkey: f.Pair.Public().String(), Signature: sig.String()})
		}
	}
	return list
}

// randomHex returns 2n random hex digits.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

package bench

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Lengths in a frame, in bytes.
const (
	idLen    = 32 // of a message's id: run, sender and place in hex
	nonceLen = 24
	boxExtra = 16 // of a sealed body over the plain one
)

// messageID names a message: 8 hex digits for the run, 8 for the sender, 16 for the
// place in the sender's row.
type messageID struct {
	run, sender uint32
	place       int
}

func (id messageID) appendTo(b []byte) []byte {
	var raw [idLen / 2]byte
	putUint(raw[:4], uint64(id.run))
	putUint(raw[4:8], uint64(id.sender))
	putUint(raw[8:], uint64(id.place))
	return hex.AppendEncode(b, raw[:])
}

func putUint(b []byte, v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte(v)
		v >>= 8
	}
}

// parseMessageID reads what appendTo has written; ok is false for ids of others.
func parseMessageID(text []byte, run uint32) (id messageID, ok bool) {
	if len(text) != idLen {
		return id, false
	}
	var parts [3]uint64
	for i, part := range [][]byte{text[:8], text[8:16], text[16:]} {
		n, err := strconv.ParseUint(string(part), 16, 64)
		if err != nil {
			return id, false
		}
		parts[i] = n
	}
	id = messageID{uint32(parts[0]), uint32(parts[1]), int(parts[2])}
	return id, id.run == run && id.place >= 0
}

// draft is the frame of a send, encoded once. What differs from message to message
// has the same length and is written over.
type draft struct {
	frame                                   []byte
	id, clientID, target, nonce, ciphertext int // where they begin
	body                                    []byte
}

// newDraft makes the frame for bodies of size random bytes. target is one of the
// targets that set will be given; version is 0 for a body of protocol v1.
func newDraft(size int, target string, version int) *draft {
	d := &draft{body: make([]byte, size)}
	random := make([]byte, size+boxExtra)
	rand.Read(random) // never fails (crypto/rand)
	copy(d.body, random)
	mark := func(name string, value string) int {
		d.frame = append(append(append(d.frame, ',', '"'), name...), `":"`...)
		at := len(d.frame)
		d.frame = append(append(d.frame, value...), '"')
		return at
	}
	d.frame = append(d.frame, `{"type":"send"`...)
	zero := string(messageID{}.appendTo(nil))
	d.id, d.clientID = mark("id", zero), mark("client_message_id", zero)
	d.target = mark("targetSpec", target)
	mark("priority", string(wire.Next))
	d.nonce = mark("nonce", base64.StdEncoding.EncodeToString(make([]byte, nonceLen)))
	d.ciphertext = mark("ciphertext", base64.StdEncoding.EncodeToString(random))
	if version != 0 {
		d.frame = fmt.Appendf(d.frame, `,"bodyVersion":%d,"keyEpoch":1`, version)
	}
	d.frame = append(d.frame, '}')
	return d
}

// set makes it the frame of another message. Its id is its nonce, too, until it is
// sealed: a resend has the same bytes.
func (d *draft) set(id messageID, target string) {
	text := id.appendTo(make([]byte, 0, idLen))
	copy(d.frame[d.id:], text)
	copy(d.frame[d.clientID:], text)
	copy(d.frame[d.target:], target)
	copy(d.frame[d.nonce:], text)
}

// seal replaces the random body by a sealed one of the same length.
func (d *draft) seal(nonce, ciphertext string) {
	copy(d.frame[d.nonce:], nonce)
	copy(d.frame[d.ciphertext:], ciphertext)
}

// appendClientAck appends the frame that confirms a delivery.
func appendClientAck(b []byte, clientID, brokerID []byte) []byte {
	b = append(append(b, `{"type":"client_ack","clientMessageId":"`...), clientID...)
	b = append(append(b, `","brokerMessageId":"`...), brokerID...)
	return append(b, `"}`...)
}

var (
	pushStart   = []byte(`{"type":"push",`)
	ackStart    = []byte(`{"type":"ack",`)
	systemMark  = []byte(`"subtype":"system"`)
	errorMark   = []byte(`"error":`)
	idName      = []byte(`"id":"`)
	clientName  = []byte(`"client_message_id":"`)
	messageName = []byte(`"messageId":"`)
)

// lookup finds a string of a compact JSON object by `"name":"` and reports whether
// it stands there plainly. A name can't be mistaken for text inside a string, where
// the quotes would have backslashes.
func lookup(frame, name []byte) ([]byte, bool) {
	i := bytes.Index(frame, name)
	if i < 0 {
		return nil, false
	}
	rest := frame[i+len(name):]
	end := bytes.IndexByte(rest, '"')
	if end < 0 || bytes.IndexByte(rest[:end], '\\') >= 0 {
		return nil, false
	}
	return rest[:end], true
}

// answer is an ack to a send.
type answer struct {
	id      []byte
	refusal string // "" when the message was taken
}

// readAck reads an ack, the usual one without parsing it.
func readAck(frame []byte) (answer, error) {
	if bytes.HasPrefix(frame, ackStart) && !bytes.Contains(frame, errorMark) {
		if id, ok := lookup(frame, idName); ok {
			return answer{id: id}, nil
		}
	}
	parsed, err := wire.ParseFrame(frame)
	if err != nil {
		return answer{}, err
	}
	ack, err := wire.DecodeAck(&parsed)
	return answer{[]byte(ack.ID), ack.Error}, err
}

// delivery is a push of a message.
type delivery struct {
	clientID, messageID []byte
	push                *wire.Push // when it was asked for
}

// readPush reads a push, the usual one without parsing it. With whole it parses
// everything.
func readPush(frame []byte, whole bool) (d delivery, err error) {
	if !whole {
		client, ok := lookup(frame, clientName)
		id, found := lookup(frame, messageName)
		if ok && found {
			return delivery{clientID: client, messageID: id}, nil
		}
	}
	parsed, err := wire.ParseFrame(frame)
	if err != nil {
		return d, err
	}
	push, err := wire.DecodePush(&parsed)
	return delivery{[]byte(push.ClientID), []byte(push.MessageID), &push}, err
}

var hashSeed = maphash.MakeSeed()

func hash(id []byte) uint64 { return maphash.Bytes(hashSeed, id) }

// open opens a direct push, or one to a group when there is a mesh key.
func open(to identity.KeyPair, group envelope.MeshKey, p *wire.Push) ([]byte, error) {
	if p.BodyVersion == wire.BodyMesh {
		return envelope.OpenMesh(group, p.Nonce, p.Ciphertext)
	}
	return envelope.OpenDirect(to, p.SenderPubkey, p.Nonce, p.Ciphertext)
}

// helloFrame is a session_hello; see protocol v1, section 3.
type helloFrame struct {
	Type               string           `json:"type"`
	MeshID             string           `json:"meshId"`
	ParentMemberID     string           `json:"parentMemberId"`
	ParentMemberPubkey wire.Key         `json:"parentMemberPubkey"`
	SessionPubkey      wire.Key         `json:"sessionPubkey"`
	Attestation        wire.Attestation `json:"parentAttestation"`
	SessionID          string           `json:"sessionId"`
	PID                int              `json:"pid"`
	Cwd                string           `json:"cwd"`
	DisplayName        string           `json:"displayName"`
	PeerType           string           `json:"peerType"`
	Channel            string           `json:"channel"`
	Groups             []wire.Group     `json:"groups,omitempty"`
	Capabilities       []string         `json:"capabilities,omitempty"`
	Timestamp          int64            `json:"timestamp"` // Unix ms
	Signature          wire.Signature   `json:"signature"`
}

// hello makes the session's first frame, signed at now.
func (s *session) hello(now time.Time) ([]byte, error) {
	member, key := s.mesh.Member, s.pair.Public()
	word := identity.Attest(member, key, now.Add(identity.DefaultAttestationTTL))
	h := helloFrame{
		Type: wire.TypeSessionHello, MeshID: s.mesh.MeshID, ParentMemberID: s.mesh.MemberID,
		ParentMemberPubkey: member.Public(), SessionPubkey: key,
		Attestation: wire.Attestation{
			SessionPubkey: key.String(), ParentMemberPubkey: member.Public().String(),
			ExpiresAt: word.ExpiresAt, Signature: word.Signature.String(),
		},
		SessionID: s.name, PID: 1, Cwd: "/", DisplayName: s.name, PeerType: "connector", Channel: "claudemesh-bench", Groups: s.groups,
		Capabilities: []string{wire.CapRosterChanged}, // as sessions of the daemon: they are not told of each arrival
	}
	if len(s.groups) > 0 { // it may get what is sealed for them
		h.Capabilities = append(h.Capabilities, wire.CapSealedGroups)
	}
	h.Timestamp, h.Signature = identity.SignSessionHello(s.pair, h.MeshID, member.Public(), now)
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode session_hello: %w", err)
	}
	return b, nil
}

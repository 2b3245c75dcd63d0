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

// Lengths of parts of a frame, in bytes.
const (
	idLen    = 32 // id of a message: run, sender and place in hex
	nonceLen = 24
	boxExtra = 16 // how much longer a sealed body is than the plain one
)

// messageID identifies a message: 8 hex digits for the run, 8 for the sender, and 16 for the
// place among the sender's messages.
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

// parseMessageID is the inverse of appendTo. ok is false for an id that isn't of this run.
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

// draft is the frame of a send, encoded once. The parts that differ between messages have fixed
// lengths and are overwritten.
type draft struct {
	frame                                   []byte
	id, clientID, target, nonce, ciphertext int // offsets
	body                                    []byte
}

// newDraft makes the frame for bodies of size random bytes. target must have the length of the
// targets that set gets later. version is 0 for a body of protocol v1.
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

// set makes the draft the frame of another message. Unless seal is called, the id also serves
// as the nonce, so that a resent message has the same bytes.
func (d *draft) set(id messageID, target string) {
	text := id.appendTo(make([]byte, 0, idLen))
	copy(d.frame[d.id:], text)
	copy(d.frame[d.clientID:], text)
	copy(d.frame[d.target:], target)
	copy(d.frame[d.nonce:], text)
}

// seal replaces the random body by a sealed body of the same length.
func (d *draft) seal(nonce, ciphertext string) {
	copy(d.frame[d.nonce:], nonce)
	copy(d.frame[d.ciphertext:], ciphertext)
}

// appendClientAck appends the frame that acknowledges a delivery.
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

// lookup finds the string value of a member in a compact JSON object by searching for
// `"name":"`. It reports false if there is none, or if it contains escapes. The search can't
// match inside a string, because quotes are escaped there.
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
	refusal string // "" if the broker accepted the message
}

// readAck reads an ack. It doesn't need to parse a typical one.
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
	push                *wire.Push // only with whole
}

// readPush reads a push. Without whole, it doesn't need to parse a typical one.
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

// open opens the body of a push: a direct one, or one to a group if there is a mesh key.
func open(to identity.KeyPair, group envelope.MeshKey, p *wire.Push) ([]byte, error) {
	if p.BodyVersion == wire.BodyMesh {
		return envelope.OpenMesh(group, p.Nonce, p.Ciphertext)
	}
	return envelope.OpenDirect(to, p.SenderPubkey, p.Nonce, p.Ciphertext)
}

// helloFrame is a session_hello; see SPEC.md, section 5.
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

// hello makes the session's first frame, signed with the time now.
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
		Capabilities: []string{wire.CapRosterChanged}, // like a session of the daemon, which doesn't want a push per arrival
	}
	if len(s.groups) > 0 { // it can open messages that are sealed for groups
		h.Capabilities = append(h.Capabilities, wire.CapSealedGroups)
	}
	h.Timestamp, h.Signature = identity.SignSessionHello(s.pair, h.MeshID, member.Public(), now)
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode session_hello: %w", err)
	}
	return b, nil
}

package wire

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Send is a message on its way to the broker.
type Send struct {
	ID          string // chosen by the client; the ack echoes it
	Targets     []Target
	TargetSpec  string // the targets as received: one string, or a list in JSON
	Priority    Priority
	Nonce       string // standard base64, opaque to the broker
	Ciphertext  string // standard base64, opaque to the broker
	ClientID    string // client_message_id: the idempotency key, the same in every resend
	Fingerprint string // request_fingerprint
	ReplyTo     string
	Mentions    []string
	BodyVersion int64
	KeyEpoch    int64 // the epoch of the mesh key that sealed the body
	MustReach   bool  // refuse the message when nobody would get it; see CapMustReach
}

// Size returns the message's size in bytes, which max_message_bytes limits.
func (s *Send) Size() int { return len(s.Ciphertext) + len(s.Nonce) + len(s.TargetSpec) }

// SealedForMany reports whether the message is sealed under the mesh key.
func (s *Send) SealedForMany() bool { return SealedForMany(s.TargetSpec, s.BodyVersion) }

// TargetKind tells the kinds of targets apart.
type TargetKind uint8

// The kinds of targets.
const (
	TargetKey   TargetKind = iota // a member or session key
	TargetAll                     // "*" or "@all"
	TargetGroup                   // "@name"
	TargetTopic                   // "#topic"
)

// Target is one parsed element of a targetSpec.
type Target struct {
	Kind TargetKind
	Key  Key    // for TargetKey
	Name string // for TargetGroup and TargetTopic, without "@" or "#"
}

// ParseTarget reads one target.
func ParseTarget(s string) (Target, error) {
	switch {
	case s == "*" || s == "@all":
		return Target{Kind: TargetAll}, nil
	case strings.HasPrefix(s, "@"):
		if !ValidGroup(s[1:]) {
			return Target{}, fmt.Errorf("%w, with a group name of %s", errTarget, groupNameWant)
		}
		return Target{Kind: TargetGroup, Name: s[1:]}, nil
	case strings.HasPrefix(s, "#") && len(s) > 1 && len(s) <= MaxNameLen:
		return Target{Kind: TargetTopic, Name: s[1:]}, nil
	}
	key, err := ParseKey(s)
	if err != nil || key.IsZero() {
		return Target{}, errTarget
	}
	return Target{Kind: TargetKey, Key: key}, nil
}

var errTarget = errors.New("a 64-hex key, @group, @all, * or #topic")

// DecodeSend reads a send. On error, the returned message still has its ID if the
// frame has a valid one, so that the refusal can name it.
func DecodeSend(frame *Frame) (Send, error) {
	f := fields{Frame: frame}
	m := Send{
		ID:          f.bounded("id", MaxClientID),
		Priority:    Priority(f.need("priority")),
		Nonce:       f.need("nonce"),
		Ciphertext:  f.need("ciphertext"),
		ClientID:    f.bounded("client_message_id", MaxClientID),
		Fingerprint: f.bounded("request_fingerprint", MaxClientID),
		ReplyTo:     f.bounded("replyToId", MaxClientID),
		Mentions:    f.strs("mentions", MaxMentions),
	}
	m.BodyVersion, _ = f.integer("bodyVersion")
	m.KeyEpoch, _ = f.integer("keyEpoch")
	m.MustReach, _ = f.boolean("mustReach")
	m.TargetSpec, m.Targets = f.targets()
	for _, mention := range m.Mentions {
		if len(mention) > MaxNameLen {
			f.fail("mentions", fmt.Sprintf("strings of at most %d bytes", MaxNameLen))
		}
	}
	if f.err == nil && !m.Priority.Valid() {
		f.fail("priority", "now, next or low")
	}
	if f.err == nil && !isBase64(m.Nonce) {
		f.fail("nonce", "standard base64 with padding")
	}
	if f.err == nil && !isBase64(m.Ciphertext) {
		f.fail("ciphertext", "standard base64 with padding")
	}
	return m, f.err
}

// targets reads targetSpec, one target or a list of them.
func (f *fields) targets() (spec string, targets []Target) {
	v := f.raw("targetSpec")
	list := []string{""}
	switch v.Kind() {
	case '"':
		spec, _ = text(v)
		list[0] = spec
	case '[':
		v = v.Clone() // compacting works in place
		if err := v.Compact(jsontext.AllowInvalidUTF8(true)); err != nil {
			f.fail("targetSpec", errTarget.Error())
			return "", nil
		}
		spec = string(v)
		list = f.strs("targetSpec", MaxTargets)
	default:
		f.fail("targetSpec", "a string or a list of strings")
		return "", nil
	}
	if len(list) == 0 {
		f.fail("targetSpec", "at least one target")
	}
	for _, s := range list {
		t, err := ParseTarget(s)
		if err != nil {
			f.fail("targetSpec", err.Error())
			return spec, nil
		}
		targets = append(targets, t)
	}
	return spec, targets
}

// isBase64 reports whether s is standard base64 with padding (RFC 4648 §4). It ignores
// the unused bits before the padding, because the broker forwards the text unchanged.
func isBase64(s string) bool {
	if len(s)%4 != 0 {
		return false
	}
	body := strings.TrimSuffix(strings.TrimSuffix(s, "="), "=")
	var bad byte
	for len(body) >= 4 {
		bad |= notBase64[body[0]] | notBase64[body[1]] | notBase64[body[2]] | notBase64[body[3]]
		body = body[4:]
	}
	for i := range len(body) {
		bad |= notBase64[body[i]]
	}
	return bad == 0
}

// notBase64 is 0 for the bytes of the base64 alphabet, 1 for all others.
var notBase64 = func() (table [256]byte) {
	for c := range table {
		table[c] = 1
	}
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		table[c] = 0
	}
	return table
}()

// ClientAck acknowledges a push. A client sets one of the ids or both.
type ClientAck struct {
	ClientID string // clientMessageId: the message's client_message_id, or its messageId if it has none
	BrokerID string // brokerMessageId
}

// DecodeClientAck reads a client_ack.
func DecodeClientAck(frame *Frame) (ClientAck, error) {
	f := fields{Frame: frame}
	m := ClientAck{f.bounded("clientMessageId", MaxClientID), f.bounded("brokerMessageId", MaxClientID)}
	return m, f.err
}

// MessageStatus asks for the delivery status of a message.
type MessageStatus struct{ MessageID string }

// DecodeMessageStatus reads a message_status. The id may be a prefix; SPEC.md says
// which prefixes the broker accepts.
func DecodeMessageStatus(frame *Frame) (MessageStatus, error) {
	f := fields{Frame: frame}
	m := MessageStatus{f.need("messageId")}
	return m, f.err
}

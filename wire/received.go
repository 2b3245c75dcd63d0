package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The functions in this file are the client's side of decoding: they read the
// broker's messages. A client ignores messages of an unknown type.

// Unmarshal reads the whole frame into v with encoding/json. It is for rare answers;
// frequent messages have a Decode function.
func (f *Frame) Unmarshal(v any) error {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, field := range f.fields {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(appendString(nil, string(field.name)))
		b.WriteByte(':')
		b.Write(field.value)
	}
	b.WriteByte('}')
	if err := json.Unmarshal(b.Bytes(), v); err != nil {
		return fmt.Errorf("decode %s: %w", f.Type, err)
	}
	return nil
}

// Subtype returns the subtype field, "" when it is absent or not a string. Use
// DecodeSystemPush for a push with SubtypeSystem, DecodePush for any other.
func (f *Frame) Subtype() string {
	s, _ := text(f.raw("subtype"))
	return s
}

// SubtypeSystem marks a push that the broker itself created.
const SubtypeSystem = "system"

// DecodeHelloAck reads a hello_ack. It leaves an id zero that isn't a UUID, because
// v1 brokers use other ids.
func DecodeHelloAck(frame *Frame) (HelloAck, error) {
	f := fields{Frame: frame}
	a := HelloAck{
		Type:              TypeHelloAck,
		PresenceID:        f.brokerID("presenceId"),
		MemberDisplayName: f.str("memberDisplayName"),
		LastSummary:       f.str("lastSummary"),
		LastSeenAt:        f.optionalTime("lastSeenAt"),
		RestoredStats:     json.RawMessage(f.object("restoredStats").Clone()),
		Capabilities:      f.strs("capabilities", MaxGroups),
	}
	a.Restored, _ = f.boolean("restored")
	f.decode("memberProfile", &a.MemberProfile)
	f.decode("meshPolicy", &a.MeshPolicy)
	f.decode("services", &a.Services)
	f.decode("audit", &a.Audit)
	f.decode("restoredGroups", &a.RestoredGroups)
	if at := f.optionalTime("serverTime"); at != nil {
		a.ServerTime = *at
	}
	return a, f.err
}

// DecodeError reads an error.
func DecodeError(frame *Frame) (Error, error) {
	f := fields{Frame: frame}
	e := NewError(Code(f.need("code")), f.str("message"), frame.ReqID)
	return e, f.err
}

// DecodeAck reads an ack.
func DecodeAck(frame *Frame) (Ack, error) {
	f := fields{Frame: frame}
	a := Ack{
		ID:        f.str("id"),
		MessageID: f.str("messageId"),
		Error:     f.str("error"),
		ReqID:     frame.ReqID,
	}
	a.Queued, _ = f.boolean("queued")
	a.Repeated, _ = f.boolean("repeated")
	f.decode("unopened", &a.Unopened)
	more, _ := f.integer("moreUnopened")
	a.MoreUnopened = int(more)
	return a, f.err
}

// DecodePush reads a push that carries a message. It leaves an id zero that isn't a
// UUID, because v1 brokers use other ids.
func DecodePush(frame *Frame) (Push, error) {
	f := fields{Frame: frame}
	p := Push{
		MessageID:          f.need("messageId"),
		MeshID:             f.brokerID("meshId"),
		SenderPubkey:       f.key("senderPubkey"),
		SenderMemberID:     f.brokerID("senderMemberId"),
		SenderName:         f.str("senderName"),
		Priority:           Priority(f.need("priority")),
		Nonce:              f.need("nonce"),
		Ciphertext:         f.need("ciphertext"),
		CreatedAt:          f.needTime("createdAt"),
		ClientID:           f.str("client_message_id"),
		Fingerprint:        f.str("request_fingerprint"),
		Topic:              f.str("topic"),
		ReplyTo:            f.str("replyToId"),
		Mentions:           f.strs("mentions", MaxMentions),
		SenderMemberPubkey: f.optionalKey("senderMemberPubkey"),
		TargetSpec:         f.str("targetSpec"),
	}
	p.BodyVersion, _ = f.integer("bodyVersion")
	p.KeyEpoch, _ = f.integer("keyEpoch")
	if sub := f.sub("senderAttestation"); sub != nil {
		p.SenderAttestation = attestation(sub)
	}
	if !p.Priority.Valid() {
		f.fail("priority", "now, next or low")
	}
	if !isBase64(p.Nonce) {
		f.fail("nonce", "standard base64 with padding")
	}
	if !isBase64(p.Ciphertext) {
		f.fail("ciphertext", "standard base64 with padding")
	}
	return p, f.err
}

// DecodeSystemPush reads a push with SubtypeSystem. Callers should ignore unknown
// events.
func DecodeSystemPush(frame *Frame) (SystemPush, error) {
	f := fields{Frame: frame}
	p := SystemPush{
		Type:         TypePush,
		Subtype:      f.need("subtype"),
		Event:        f.need("event"),
		MessageID:    f.need("messageId"),
		MeshID:       f.brokerID("meshId"),
		SenderPubkey: f.str("senderPubkey"),
		Priority:     Priority(f.str("priority")),
		Nonce:        f.str("nonce"),
		Ciphertext:   f.str("ciphertext"),
		CreatedAt:    Time{f.needTime("createdAt")},
	}
	if f.err == nil && p.Subtype != SubtypeSystem {
		f.fail("subtype", "system")
	}
	f.decode("eventData", &p.EventData)
	return p, f.err
}

// key reads a required public key.
func (f *fields) key(name string) Key {
	k, err := ParseKey(f.need(name))
	if err != nil {
		f.fail(name, "64 lowercase hex chars")
	}
	return k
}

// optionalKey reads a public key, zero when absent.
func (f *fields) optionalKey(name string) Key {
	if f.raw(name) == nil {
		return Key{}
	}
	return f.key(name)
}

// brokerID reads an id that a broker created. A v1 broker's id is up to 32 of
// [A-Za-z0-9]; an id in another form than ours gives the zero ID.
func (f *fields) brokerID(name string) ID {
	s := f.str(name)
	if len(s) > 32 {
		f.fail(name, "an id of at most 32 characters")
	}
	id, err := ParseID(s)
	if err != nil {
		return ID{}
	}
	return id
}

// optionalTime reads a time, nil when absent.
func (f *fields) optionalTime(name string) *Time {
	if f.raw(name) == nil {
		return nil
	}
	var t Time
	if err := t.UnmarshalText([]byte(f.str(name))); err != nil {
		f.fail(name, "an ISO 8601 time")
		return nil
	}
	return &t
}

// needTime reads a required time.
func (f *fields) needTime(name string) time.Time {
	t := f.optionalTime(name)
	if t == nil {
		f.fail(name, "an ISO 8601 time")
		return time.Time{}
	}
	return t.Time
}

// decode reads a nested value with encoding/json. An absent value leaves v unchanged.
func (f *fields) decode(name string, v any) {
	raw := f.raw(name)
	if raw == nil {
		return
	}
	if err := json.Unmarshal(raw, v); err != nil {
		f.fail(name, "well-formed: "+err.Error())
	}
}

// UnmarshalText reads an ISO 8601 time with a zone and any number of fractional
// digits of a second.
func (t *Time) UnmarshalText(b []byte) error {
	parsed, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return fmt.Errorf("time must be ISO 8601: %w", err)
	}
	t.Time = parsed.UTC()
	return nil
}

// UnmarshalJSON reads the form of UnmarshalText as a JSON string. Null leaves t
// unchanged.
func (t *Time) UnmarshalJSON(b []byte) error {
	v := jsontext.Value(b)
	if v.Kind() == 'n' {
		return nil
	}
	s, ok := text(v)
	if !ok {
		return fmt.Errorf("time must be a string, not %s", v.Kind())
	}
	return t.UnmarshalText([]byte(s))
}

package wire

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Push carries a message to one of its recipients.
type Push struct {
	MessageID          string
	MeshID             ID
	SenderPubkey       Key // the sender's session key if it has one, else its member key
	SenderMemberPubkey Key // omitted when zero
	SenderMemberID     ID  // omitted when zero
	SenderName         string
	Priority           Priority
	Nonce, Ciphertext  string
	CreatedAt          time.Time
	ClientID           string
	Fingerprint        string
	Topic              string
	ReplyTo            string
	Mentions           []string
	BodyVersion        int64
	KeyEpoch           int64
	// SenderAttestation is the attestation of SenderPubkey by the sender's member; nil
	// when SenderPubkey isn't a session key.
	SenderAttestation *Attestation
	// TargetSpec is the address of a message to many, as in Send. It is "" when the
	// message was addressed to a key, and when the broker doesn't send this field.
	TargetSpec string
}

// Versions of a message's body: how it is sealed and what is inside. The broker
// can't look inside. Version 0 is protocol v1: a text in a crypto_box, or a text in
// base64.
const (
	BodyMesh       = 2 // a text, under the mesh key
	BodySignedMesh = 3 // the sender's signature and a text, under the mesh key
	BodyText       = 4 // a text in a crypto_box, from a sender that accepts receipts
	BodyReceipt    = 5 // a receipt in a crypto_box
	BodyCopy       = 6 // like BodyText: one peer's copy of a message to many; see CopyID
)

// SealedForMany reports whether a message is sealed under the mesh key. Only clients
// with CapSealedGroups can open such a message.
func SealedForMany(targetSpec string, bodyVersion int64) bool {
	return bodyVersion >= BodyMesh && targetSpec != "" && strings.IndexByte("*@[", targetSpec[0]) >= 0
}

// ForMany returns targetSpec if it addresses many peers, and "" if it is a key.
func ForMany(targetSpec string) string {
	if targetSpec == "" || strings.IndexByte("*@[#", targetSpec[0]) < 0 {
		return ""
	}
	return targetSpec
}

// copyKeyLen is how many digits of the recipient's key a copy's id ends in.
const copyKeyLen = 16

// MaxCopiedID bounds the client_message_id of a message that may need copies, in bytes.
const MaxCopiedID = MaxClientID - 1 - copyKeyLen

// CopyID returns the client_message_id for one recipient's copy of a message to many.
func CopyID(clientID string, to Key) string { return clientID + "/" + to.String()[:copyKeyLen] }

// CopyOf returns the client_message_id of the message to many, given the id of a copy.
// It returns false if id isn't the id of a copy for the key to.
func CopyOf(id string, to Key) (clientID string, ok bool) {
	return strings.CutSuffix(id, "/"+to.String()[:copyKeyLen])
}

// AppendJSON appends the push's frame to b.
func (p *Push) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"type":"push","messageId":`...), p.MessageID)
	b = appendString(append(b, `,"meshId":`...), p.MeshID.String())
	b = appendString(append(b, `,"senderPubkey":`...), p.SenderPubkey.String())
	if !p.SenderMemberPubkey.IsZero() {
		b = appendString(append(b, `,"senderMemberPubkey":`...), p.SenderMemberPubkey.String())
	}
	b = appendOptional(b, `,"senderMemberId":`, p.SenderMemberID.String())
	b = appendOptional(b, `,"senderName":`, p.SenderName)
	b = appendString(append(b, `,"priority":`...), string(p.Priority))
	b = appendString(append(b, `,"nonce":`...), p.Nonce)
	b = appendString(append(b, `,"ciphertext":`...), p.Ciphertext)
	b = append(b, `,"createdAt":"`...)
	b = append(p.CreatedAt.UTC().AppendFormat(b, TimeFormat), '"')
	b = appendOptional(b, `,"client_message_id":`, p.ClientID)
	b = appendOptional(b, `,"request_fingerprint":`, p.Fingerprint)
	b = appendOptional(b, `,"topic":`, p.Topic)
	b = appendOptional(b, `,"replyToId":`, p.ReplyTo)
	if len(p.Mentions) > 0 {
		b = append(b, `,"mentions":[`...)
		for i, m := range p.Mentions {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, m)
		}
		b = append(b, ']')
	}
	if p.BodyVersion != 0 {
		b = append(append(b, `,"bodyVersion":`...), itoa(p.BodyVersion)...)
	}
	if p.KeyEpoch != 0 {
		b = append(append(b, `,"keyEpoch":`...), itoa(p.KeyEpoch)...)
	}
	if p.SenderAttestation != nil {
		b = p.SenderAttestation.appendJSON(append(b, `,"senderAttestation":`...))
	}
	b = appendOptional(b, `,"targetSpec":`, p.TargetSpec)
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	if isVerbatim(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	b, _ = jsontext.AppendQuote(b, s) // invalid UTF-8 becomes U+FFFD
	return b
}

// isVerbatim reports whether s needs no escapes in a JSON string.
func isVerbatim(s string) bool {
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		control := (w - lowBits*' ') &^ w
		if (w|control|hasByte(w, '"')|hasByte(w, '\\'))&highBits != 0 {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

func appendOptional(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, name...), s)
}

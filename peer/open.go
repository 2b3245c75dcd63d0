package peer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// open opens a message with the keys of this client and determines its author.
func (c *Client) open(p *wire.Push) Incoming {
	m := Incoming{
		MessageID: p.MessageID,
		ClientID:  p.ClientID,
		Sender:    p.SenderPubkey,
		Member:    p.SenderMemberPubkey,
		Name:      p.SenderName,
		Priority:  p.Priority,
		Topic:     p.Topic,
		Targets:   targets(p.TargetSpec),
		ReplyTo:   p.ReplyTo,
		Mentions:  p.Mentions,
		CreatedAt: p.CreatedAt,
	}
	switch {
	case p.BodyVersion < wire.BodyMesh || p.BodyVersion == wire.BodyText || p.BodyVersion == wire.BodyCopy:
		c.openText(&m, p)
	case p.BodyVersion == wire.BodyMesh || p.BodyVersion == wire.BodySignedMesh:
		c.openMesh(&m, p)
	default:
		m.Err = fmt.Errorf("body version %d is newer than this client", p.BodyVersion)
	}
	if m.Err != nil {
		m.Sealing, m.Body, m.Doubt = Unopened, nil, doubtUnopened
	}
	if m.Doubt == "" {
		member, doubt := c.author(p)
		if doubt == "" {
			m.Member, m.Verified = member, true
		}
		m.Doubt = doubt
	}
	return m
}

// targets parses the targets of a message to many. It returns none if it can't parse them.
func targets(spec string) []string {
	if spec == "" {
		return nil
	}
	texts := []string{spec}
	if spec[0] == '[' && json.Unmarshal([]byte(spec), &texts) != nil {
		return nil
	}
	list := make([]string, len(texts))
	for i, text := range texts {
		t, err := wire.ParseTarget(text)
		if err != nil {
			return nil
		}
		list[i] = TargetText(t)
	}
	return list
}

// author returns the member that the sender's key belongs to, or why no member is proven.
func (c *Client) author(p *wire.Push) (member wire.Key, doubt string) {
	claimed := p.SenderMemberPubkey
	// When a message comes from another presence of the same member, the broker does not
	// name the member.
	if own := c.o.Mesh.Member.Public(); claimed.IsZero() && p.SenderPubkey == own {
		claimed = own
	}
	// The message may have waited for days, so the time of sending counts.
	return vouched(p.SenderPubkey, claimed, p.SenderAttestation, p.CreatedAt)
}

// openText opens a text that was sealed for one key or not sealed.
func (c *Client) openText(m *Incoming, p *wire.Push) {
	var to identity.KeyPair
	m.Sealing = Direct
	m.Body, to, m.Err = c.openDirect(p)
	m.To = to.Public()
	if m.Err == nil {
		m.WantsReceipt = p.BodyVersion == wire.BodyText
		if p.BodyVersion == wire.BodyCopy {
			m.Sealing = Copied
			if original, ok := wire.CopyOf(p.ClientID, m.To); ok {
				m.ClientID = original
			}
		}
		return
	}
	if p.BodyVersion < wire.BodyMesh && errors.Is(m.Err, envelope.ErrOpen) {
		if text, ok := plainText(p.Ciphertext); ok {
			m.Sealing, m.Body, m.Err, m.Doubt = NotEncrypted, text, nil, doubtPlain
		}
	}
}

// openDirect tries the session key, the keys of earlier sessions, and the member key,
// because the push does not say which of them the message was sealed for. It returns the
// key that worked.
func (c *Client) openDirect(p *wire.Push) (body []byte, to identity.KeyPair, err error) {
	for _, pair := range c.pairs {
		body, err = envelope.OpenDirect(pair, p.SenderPubkey, p.Nonce, p.Ciphertext)
		if err == nil {
			return body, pair, nil
		}
		if errors.Is(err, envelope.ErrReflected) {
			break
		}
	}
	return nil, identity.KeyPair{}, err
}

// openMesh opens a message that was sealed under the mesh key.
func (c *Client) openMesh(m *Incoming, p *wire.Push) {
	m.Sealing = InMesh
	if p.KeyEpoch > meshKeyEpoch {
		m.Err = fmt.Errorf("the message is sealed under mesh key %d, which this client does not have", p.KeyEpoch)
		return
	}
	if m.Body, m.Err = envelope.OpenMesh(c.o.Mesh.Key, p.Nonce, p.Ciphertext); m.Err != nil {
		return
	}
	if p.BodyVersion == wire.BodyMesh {
		m.Doubt = doubtUnsigned
		return
	}
	if len(m.Body) < wire.SignatureSize {
		m.Err = errors.New("the message is too short to contain its signature")
		return
	}
	sig := wire.Signature(m.Body)
	m.Body = m.Body[wire.SignatureSize:]
	if !identity.Verify(p.SenderPubkey, groupSigningText(c.o.Mesh.MeshID, p.SenderPubkey, p.ClientID, m.Body), sig) {
		m.Doubt = doubtSignature
	}
}

// signedText puts the signature before a text for groups, because the whole mesh has the
// key that seals it.
func signedText(meshID string, from identity.KeyPair, clientID string, text []byte) []byte {
	sig := from.Sign(groupSigningText(meshID, from.Public(), clientID, text))
	return append(sig[:], text...)
}

func groupSigningText(meshID string, sender wire.Key, clientID string, text []byte) string {
	return wire.GroupTextSigningText(meshID, sender, clientID, hexHash(text))
}

// hexHash returns the SHA-256 in lower-case hex.
func hexHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// plainText decodes what a v1 client sends to groups: the base64 of a text. Data that was
// sealed for another key is text only by chance. The chance falls with the length, and
// sealed data has at least 16 random bytes.
func plainText(ciphertext string) ([]byte, bool) {
	raw, err := base64.StdEncoding.DecodeString(ciphertext)
	if err != nil || !utf8.Valid(raw) {
		return nil, false
	}
	for _, r := range string(raw) {
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return nil, false
		}
	}
	return raw, true
}

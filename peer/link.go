package peer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Link is an invite link of either kind. Either Code or Token is set.
type Link struct {
	BrokerURL string // of the WebSocket

	// A broker-blind link, http(s)://host/i/<code>#<secret>.
	Code   string
	Secret envelope.LinkSecret

	// A v1 link, ic://join/<token> or https://host/join/<token>. The token holds
	// the mesh key in the clear.
	Token  string
	Invite wire.InviteV1
}

var codePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)

// ErrNotALink is returned for text that isn't an invite link.
var ErrNotALink = errors.New("this isn't an invite link, which looks like https://host/i/<code>#<secret> or ic://join/<token>")

// ParseLink parses an invite link. A v1 token must be signed by the owner that it names.
func ParseLink(s string) (Link, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil {
		return Link{}, ErrNotALink // the error of package url would quote the secret
	}
	if u.Scheme == "ic" && u.Host == "join" {
		return parseToken(strings.TrimPrefix(u.Path, "/"))
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return Link{}, ErrNotALink
	}
	if _, token, ok := strings.Cut(u.Path, "/join/"); ok {
		return parseToken(token)
	}
	base, code := path.Split(u.Path)
	base, ok := strings.CutSuffix(base, "/i/")
	if !ok || !isBase(base) || !codePattern.MatchString(code) {
		return Link{}, ErrNotALink
	}
	if u.Fragment == "" {
		return Link{}, errors.New("the link is incomplete: the secret after '#' is missing; copy the whole link (in a shell, put it in quotes)")
	}
	secret, err := envelope.ParseLinkSecret(u.Fragment)
	if err != nil {
		return Link{}, errors.New("the secret after '#' in the link is damaged; copy the whole link")
	}
	return Link{BrokerURL: brokerURL(u, base), Code: code, Secret: secret}, nil
}

func parseToken(token string) (Link, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "="))
	if err != nil || token == "" {
		return Link{}, ErrNotALink
	}
	l := Link{Token: token}
	if err := json.Unmarshal(raw, &l.Invite); err != nil {
		return Link{}, ErrNotALink
	}
	p := &l.Invite
	owner, err := wire.ParseKey(p.OwnerPubkey)
	if err != nil || p.V != 1 {
		return Link{}, ErrNotALink
	}
	sig, err := wire.ParseSignature(p.Signature)
	if err != nil || !identity.Verify(owner, p.SigningText(), sig) {
		return Link{}, errors.New("the invite is not signed by the owner of its mesh; ask for a new one")
	}
	if _, err := envelope.ParseMeshKey(p.MeshRootKey); err != nil {
		return Link{}, errors.New("the invite contains no mesh key; ask for a new one")
	}
	l.BrokerURL = p.BrokerURL
	// The owner in the token signed it, but that may be anybody.
	m := Mesh{MeshID: p.MeshID, MemberID: "unknown", Slug: p.MeshSlug, BrokerURL: p.BrokerURL}
	if err := m.check(); err != nil {
		return Link{}, fmt.Errorf("the invite can't be used: %w; ask the person who sent it to you", err)
	}
	return l, nil
}

// URL returns the text of the link. The link is secret: anybody who has it may join.
func (l Link) URL() string {
	if l.Token != "" {
		return "ic://join/" + l.Token
	}
	u, err := siteURL(l.BrokerURL)
	if err != nil {
		return ""
	}
	return u.String() + "/i/" + l.Code + "#" + l.Secret.Encode()
}

// Expired reports whether a v1 link has expired, according to its token.
func (l Link) Expired(now time.Time) bool {
	return l.Token != "" && now.Unix() >= l.Invite.ExpiresAt
}

// tokenProof proves to the broker that the client has a v1 token, without revealing the
// mesh key in it. It is the SHA-256 of the token, in hex.
func (l Link) tokenProof() string {
	sum := sha256.Sum256([]byte(l.Token))
	return hex.EncodeToString(sum[:])
}

// InviteTerms says who may join with an invite, and for how long.
type InviteTerms struct {
	Role      string // member or admin
	Uses      int64
	ExpiresAt time.Time
	Groups    []wire.Group
}

// NewLinkInvite makes a broker-blind invite. It returns the link for the guest and the
// data for the broker (Client.InviteCreate), which can't open the invite.
func NewLinkInvite(m *Mesh, owner wire.Key, t InviteTerms) (Link, wire.InviteCreate, error) {
	if m.Key.IsZero() {
		return Link{}, wire.InviteCreate{}, fmt.Errorf("make invite: %w", &NoMeshKeyError{m.Slug})
	}
	secret := envelope.NewLinkSecret()
	sealed, err := secret.SealInvite(envelope.InvitePayload{
		MeshID: m.MeshID, Slug: m.Slug, Name: m.Name, OwnerPubkey: owner,
		RootKey: m.Key.Encode(), Inviter: m.Member.Public(),
	})
	if err != nil {
		return Link{}, wire.InviteCreate{}, fmt.Errorf("make invite: %w", err)
	}
	link := Link{BrokerURL: m.BrokerURL, Code: randomHex(12), Secret: secret}
	create := t.create()
	create.Code = link.Code
	create.ClaimPubkey = secret.ClaimKey().Public().String()
	create.SealedRootKey = sealed
	return link, create, nil
}

// NewTokenInvite makes an invite of protocol v1. Only the owner of the mesh can make one,
// because v1 clients check its signature.
func NewTokenInvite(m *Mesh, t InviteTerms) (Link, wire.InviteCreate, error) {
	if m.Key.IsZero() {
		return Link{}, wire.InviteCreate{}, fmt.Errorf("make invite: %w", &NoMeshKeyError{m.Slug})
	}
	p := wire.InviteV1{
		V: 1, MeshID: m.MeshID, MeshSlug: m.Slug, BrokerURL: m.BrokerURL, ExpiresAt: t.ExpiresAt.Unix(),
		MeshRootKey: m.Key.Encode(), Role: t.Role, OwnerPubkey: m.Member.Public().String(),
	}
	p.Signature = m.Member.Sign(p.SigningText()).String()
	// Two invites made in the same second with the same terms must differ. The salt, which
	// nobody reads, makes them differ.
	raw, err := json.Marshal(struct {
		wire.InviteV1
		Salt string `json:"salt"`
	}{p, rand.Text()})
	if err != nil {
		return Link{}, wire.InviteCreate{}, fmt.Errorf("make invite: %w", err)
	}
	link := Link{BrokerURL: m.BrokerURL, Token: base64.RawURLEncoding.EncodeToString(raw), Invite: p}
	create := t.create()
	create.ExpiresAt = p.ExpiresAt * 1000 // to the second, as the token has it
	create.TokenProof = link.tokenProof()
	return link, create, nil
}

func (t InviteTerms) create() wire.InviteCreate {
	return wire.InviteCreate{Role: t.Role, Uses: t.Uses, ExpiresAt: t.ExpiresAt.UnixMilli(), Groups: t.Groups}
}

package wire

// This file holds the bodies of the broker's HTTP routes.

// HookStatus is the body of POST /hook/set-status.
type HookStatus struct {
	Cwd       string `json:"cwd"`
	PID       int64  `json:"pid"` // of the hook's parent
	Status    Status `json:"status"`
	SessionID string `json:"session_id"`
}

// HookResult answers a HookStatus.
type HookResult struct {
	OK         bool   `json:"ok"`
	PresenceID string `json:"presence_id,omitempty"`
	Pending    bool   `json:"pending,omitempty"`
	Error      string `json:"error,omitempty"`
}

// InviteV1 is the payload of a v1 invite token: base64url without padding of
// this JSON. It carries the mesh key in the clear.
type InviteV1 struct {
	V           int    `json:"v"` // 1
	MeshID      string `json:"mesh_id"`
	MeshSlug    string `json:"mesh_slug"`
	BrokerURL   string `json:"broker_url"`
	ExpiresAt   int64  `json:"expires_at"`    // Unix seconds
	MeshRootKey string `json:"mesh_root_key"` // base64url, 32 bytes
	Role        string `json:"role"`
	OwnerPubkey string `json:"owner_pubkey"`
	Signature   string `json:"signature"`
}

// SigningText is what the mesh owner signs.
func (p *InviteV1) SigningText() string {
	return InviteV1SigningText(p.MeshID, p.MeshSlug, p.BrokerURL, p.ExpiresAt, p.MeshRootKey, p.Role, p.OwnerPubkey)
}

// Join is the body of POST /join. A v1 client sends the token and its payload. Our
// client sends TokenProof instead of both, so that the mesh key in the token never
// reaches the broker.
type Join struct {
	InviteToken   string    `json:"invite_token,omitempty"`
	InvitePayload *InviteV1 `json:"invite_payload,omitempty"`
	TokenProof    string    `json:"token_proof,omitempty"` // 64 hex: SHA-256 of the token
	PeerPubkey    string    `json:"peer_pubkey"`
	DisplayName   string    `json:"display_name"`
}

// JoinResult answers a Join.
type JoinResult struct {
	OK            bool   `json:"ok"`
	MemberID      string `json:"memberId,omitempty"`
	AlreadyMember bool   `json:"alreadyMember,omitempty"`
	Error         string `json:"error,omitempty"`
}

// Claim is the body of POST /invites/{code}/claim. A v1 client sends only the x25519
// key. Our client sends its member key, signed with the claim key.
type Claim struct {
	RecipientX25519 string `json:"recipient_x25519_pubkey,omitempty"` // base64url

	PeerPubkey  string `json:"peer_pubkey,omitempty"` // 64 hex
	DisplayName string `json:"display_name,omitempty"`
	Timestamp   int64  `json:"timestamp,omitempty"` // Unix ms
	Signature   string `json:"signature,omitempty"` // of ClaimSigningText, by the claim key
}

// ClaimResult answers a Claim.
type ClaimResult struct {
	SealedRootKey string `json:"sealed_root_key"` // as the inviter registered it; only the link's fragment opens it
	MeshID        ID     `json:"mesh_id"`
	MemberID      ID     `json:"member_id"`
	OwnerPubkey   Key    `json:"owner_pubkey"`
	CanonicalV2   string `json:"canonical_v2"`

	MeshSlug      string `json:"mesh_slug"`
	MeshName      string `json:"mesh_name"`
	Role          string `json:"role"`
	AlreadyMember bool   `json:"already_member,omitempty"`
}

// InvitePage is the JSON answer of GET /i/{code}, with the fields that clients use.
type InvitePage struct {
	MeshID string `json:"mesh_id"`
}

// ErrorBody answers every refused request, also on a path without a route.
type ErrorBody struct {
	OK      bool   `json:"ok"` // false
	Error   string `json:"error"`
	Message string `json:"message,omitempty"`
}

// CreateMesh is the body of POST /meshes, signed by the future owner.
type CreateMesh struct {
	Slug        string `json:"slug"`
	Name        string `json:"name"`
	OwnerPubkey string `json:"owner_pubkey"`
	DisplayName string `json:"display_name"`
	Timestamp   int64  `json:"timestamp"` // Unix ms
	Signature   string `json:"signature"` // of CreateMeshSigningText
	Token       string `json:"token,omitempty"`
}

// CreateMeshResult answers a CreateMesh.
type CreateMeshResult struct {
	MeshID   ID `json:"mesh_id"`
	MemberID ID `json:"member_id"`
}

// Health answers GET /health.
type Health struct {
	Status  string  `json:"status"` // "ok"
	DB      string  `json:"db"`     // up or down
	Version string  `json:"version"`
	Uptime  float64 `json:"uptime"`           // seconds
	Client  string  `json:"client,omitempty"` // the client's address as the broker sees it
}

// Ready answers GET /health/ready.
type Ready struct {
	Status string `json:"status"`           // ready or not_ready
	Reason string `json:"reason,omitempty"` // one word
}

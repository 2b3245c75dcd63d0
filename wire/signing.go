package wire

import "strconv"

// The functions in this file return the texts that get signed, as UTF-8, with a
// detached ed25519 signature. Times are in Unix milliseconds unless a comment says
// otherwise.

// HelloSigningText is what a member key signs in a hello.
func HelloSigningText(meshID, memberID, pubkey string, timestamp int64) string {
	return meshID + "|" + memberID + "|" + pubkey + "|" + itoa(timestamp)
}

// AttestationSigningText is what a member key signs to vouch for a session key
// until expiresAt.
func AttestationSigningText(member, session Key, expiresAt int64) string {
	return "claudemesh-session-attest|" + member.String() + "|" + session.String() + "|" + itoa(expiresAt)
}

// SessionHelloSigningText is what a session key signs in a session_hello.
func SessionHelloSigningText(meshID string, member, session Key, timestamp int64) string {
	return "claudemesh-session-hello|" + meshID + "|" + member.String() + "|" + session.String() + "|" + itoa(timestamp)
}

// SuccessionSigningText is what an old session key signs to name the key of the
// session that succeeds it.
func SuccessionSigningText(meshID string, old, next Key) string {
	return "claudemesh-session-succession|" + meshID + "|" + old.String() + "|" + next.String()
}

// GroupTextSigningText is what the sender's key signs in a body of version
// BodySignedMesh. The signature proves the sender, because every member has the mesh
// key that seals the body. textHash is the lower-case hex SHA-256 of the text.
func GroupTextSigningText(meshID string, sender Key, clientID, textHash string) string {
	return "claudemesh-group-text|" + meshID + "|" + sender.String() + "|" + itoa(int64(len(clientID))) + "|" + clientID + "|" + textHash
}

// ReceiptSigningText is what a recipient's key signs in a body of version
// BodyReceipt. messagesHash is the lower-case hex SHA-256 of the receipt's messages,
// byte for byte as in the receipt.
func ReceiptSigningText(meshID string, recipient, sender Key, messagesHash string) string {
	return "claudemesh-receipt|" + meshID + "|" + recipient.String() + "|" + sender.String() + "|" + messagesHash
}

// InviteV1SigningText is what the mesh owner signs in a v1 invite. expiresAt is
// in Unix seconds.
func InviteV1SigningText(meshID, meshSlug, brokerURL string, expiresAt int64, rootKey, role, owner string) string {
	return "1|" + meshID + "|" + meshSlug + "|" + brokerURL + "|" + itoa(expiresAt) + "|" + rootKey + "|" + role + "|" + owner
}

// InviteV2SigningText is the canonical form that a v1 client sees as
// canonical_v2 in the answer to a claim. expiresAt is in Unix seconds.
func InviteV2SigningText(meshID, inviteID string, expiresAt int64, role, owner string) string {
	return "v=2|" + meshID + "|" + inviteID + "|" + itoa(expiresAt) + "|" + role + "|" + owner
}

// CreateMeshSigningText is what the future owner signs to create a mesh. The length
// of name, in bytes, separates name from displayName, which both may hold any
// character.
func CreateMeshSigningText(slug, name, displayName string, owner Key, timestamp int64) string {
	return "claudemesh-create-mesh|" + owner.String() + "|" + itoa(timestamp) + "|" + slug + "|" + itoa(int64(len(name))) + "|" + name + "|" + displayName
}

// ClaimSigningText is what the claim key in an invite link's fragment signs to claim
// the invite for a member key.
func ClaimSigningText(code string, member Key, timestamp int64) string {
	return "claudemesh-claim|" + code + "|" + member.String() + "|" + itoa(timestamp)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

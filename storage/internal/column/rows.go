package column

import (
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
)

// These are the columns of each table, in the order in which the Scan functions read them.
// Both storages use these names.
const (
	MeshColumns   = "id, slug, name, owner, created_at"
	MemberColumns = "id, mesh_id, key, display_name, role, groups, joined_at, removed_at, grants, ban_reason"
	InviteColumns = "id, mesh_id, kind, code, claim_key, sealed_root_key, token_hash, role, groups, uses, used, " +
		"expires_at, created_at, created_by, revoked_at"
	PresenceColumns = "mesh_id, identity, id, member_id, member_key, session_key, proven, role, session_id, pid, cwd, " +
		"display_name, hostname, peer_type, channel, model, groups, summary, status, source, status_at, visible, " +
		"profile, stats, connected_at, last_seen_at, ended_at, status_reason, attestation, sealed_groups"
	// MessageColumns belong to a table named m.
	MessageColumns = "m.id, m.mesh_id, m.sender_member, m.sender_member_key, m.sender_key, m.sender_name, m.target_spec, " +
		"m.priority, m.created_at, m.client_id, m.fingerprint, m.topic, m.reply_to, m.mentions, m.body_version, m.key_epoch"
	// SettledColumn belongs to a table named m.
	SettledColumn = "m.settled"
	// BodyColumns belong to a table named b.
	BodyColumns      = "b.nonce, b.ciphertext, b.sender_attestation"
	RecipientColumns = "seq, mesh_id, mailbox, key, name, same_member, state, settled_at"
	EntryColumns     = "mesh_id, seq, at, kind, actor, detail, prev, hash"
)

// ScanMesh reads MeshColumns.
func ScanMesh(r Row) (m mesh.Mesh, err error) {
	err = r.Scan(IntoID(&m.ID), &m.Slug, &m.Name, IntoKey(&m.Owner), IntoTime(&m.CreatedAt))
	return m, err
}

// ScanMember reads MemberColumns.
func ScanMember(r Row) (m mesh.Member, err error) {
	err = r.Scan(IntoID(&m.ID), IntoID(&m.MeshID), IntoKey(&m.Key), &m.DisplayName, &m.Role, intoJSON(&m.Groups),
		IntoTime(&m.JoinedAt), IntoTime(&m.RemovedAt), intoJSON(&m.Grants), intoBan(&m))
	return m, err
}

// ScanInvite reads InviteColumns.
func ScanInvite(r Row) (v mesh.Invite, err error) {
	err = r.Scan(IntoID(&v.ID), IntoID(&v.MeshID), &v.Kind, intoText(&v.Code), IntoKey(&v.ClaimKey), &v.SealedRootKey,
		IntoBytes(v.TokenHash[:]), &v.Role, intoJSON(&v.Groups), &v.Uses, &v.Used,
		IntoTime(&v.ExpiresAt), IntoTime(&v.CreatedAt), IntoID(&v.CreatedBy), IntoTime(&v.RevokedAt))
	return v, err
}

// ScanRecord reads PresenceColumns.
func ScanRecord(r Row) (p presence.Record, err error) {
	err = r.Scan(IntoID(&p.MeshID), &p.Identity, IntoID(&p.ID), IntoID(&p.MemberID), IntoKey(&p.MemberKey),
		IntoKey(&p.SessionKey), &p.Proven, &p.Role, &p.SessionID, &p.PID, &p.Cwd,
		&p.DisplayName, &p.Hostname, &p.PeerType, &p.Channel, &p.Model, intoJSON(&p.Groups), &p.Summary,
		&p.Status, &p.Source, IntoTime(&p.StatusAt), &p.Visible, intoProfile(&p.Profile), intoRaw(&p.Stats),
		IntoTime(&p.ConnectedAt), IntoTime(&p.LastSeenAt), IntoTime(&p.EndedAt), &p.StatusReason,
		intoAttestation(&p.Attestation, &p.SessionKey, &p.MemberKey), &p.SealedGroups)
	return p, err
}

// ScanWaiting reads seq, same_member, MessageColumns and BodyColumns.
func ScanWaiting(r Row) (w queue.Waiting, err error) {
	m := &w.Message
	dest := append([]any{&w.Seq, &w.SameMember}, messageDest(m)...)
	err = r.Scan(append(dest, intoText(&m.Nonce), intoText(&m.Ciphertext),
		intoAttestation(&m.SenderAttestation, &m.SenderKey, &m.SenderMemberKey))...)
	return w, err
}

// ScanAccepted reads MessageColumns and SettledColumn, with extra columns before them.
func ScanAccepted(r Row, a *queue.Accepted, extra ...any) error {
	return r.Scan(append(append(extra, messageDest(&a.Message)...), intoSettled(&a.Recipients, &a.MeshID))...)
}

func messageDest(m *queue.Message) []any {
	return []any{IntoID(&m.ID), IntoID(&m.MeshID), IntoID(&m.SenderMember), IntoKey(&m.SenderMemberKey),
		IntoKey(&m.SenderKey), &m.SenderName, &m.TargetSpec, &m.Priority, IntoTime(&m.CreatedAt), &m.ClientID,
		&m.Fingerprint, &m.Topic, &m.ReplyTo, intoJSON(&m.Mentions), &m.BodyVersion, &m.KeyEpoch}
}

// ScanRecipient reads RecipientColumns, with extra columns before them.
func ScanRecipient(r Row, extra ...any) (d queue.Recipient, err error) {
	err = r.Scan(append(extra, &d.Seq, IntoID(&d.Mailbox.Mesh), &d.Mailbox.Name, IntoKey(&d.Key), &d.Name,
		&d.SameMember, &d.State, IntoTime(&d.SettledAt))...)
	return d, err
}

// ScanEntry reads EntryColumns.
func ScanEntry(r Row) (e audit.Entry, err error) {
	err = r.Scan(IntoID(&e.MeshID), &e.Seq, IntoTime(&e.At), &e.Kind, &e.Actor, &e.Detail,
		IntoBytes(e.Prev[:]), IntoBytes(e.Hash[:]))
	return e, err
}

// ScanLog reads a mesh's audit log: the mesh's id and slug, and the head.
func ScanLog(r Row) (l audit.Log, err error) {
	err = r.Scan(IntoID(&l.Mesh), &l.Slug, &l.Head.Seq, IntoBytes(l.Head.Hash[:]))
	return l, err
}

// ScanText reads one text.
func ScanText(r Row) (text string, err error) {
	err = r.Scan(&text)
	return text, err
}

// Redeemable returns why an invite may not be used at a given time, or nil. An invite
// without an expiry never expires.
func Redeemable(v mesh.Invite, at time.Time) error {
	switch {
	case !v.RevokedAt.IsZero():
		return mesh.ErrInviteRevoked
	case !v.ExpiresAt.IsZero() && !at.Before(v.ExpiresAt):
		return mesh.ErrInviteExpired
	case v.Used >= v.Uses:
		return mesh.ErrInviteExhausted
	}
	return nil
}

// ScanHello reads a mesh, a signature and a time.
func ScanHello(r Row) (h journal.Hello, err error) {
	err = r.Scan(IntoID(&h.Mesh), IntoBytes(h.Signature[:]), IntoTime(&h.At))
	return h, err
}

package broker

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

// note records an act of c's member in the audit log.
func (c *conn) note(detail audit.Detail) {
	c.broker.journal.Record(audit.NewEvent(c.room.id, time.Now(), c.actor.MemberID.String(), detail))
}

func (c *conn) createInvite(frame *wire.Frame) error {
	m, err := wire.DecodeInviteCreate(frame)
	if err != nil {
		return err
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	inv, err := c.broker.meshes.CreateInvite(ctx, c.actor, m, time.Now())
	if err != nil {
		return err
	}
	c.note(audit.InviteCreatedDetail{
		Invite: inv.ID, Kind: string(inv.Kind), Role: string(inv.Role), Uses: inv.Uses, ExpiresAt: inv.ExpiresAt.UnixMilli(),
	})
	c.send(wire.InviteCreated{Type: wire.TypeInviteCreated, InviteID: inv.ID, ReqID: frame.ReqID})
	return nil
}

func (c *conn) listInvites(frame *wire.Frame) error {
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	invites, err := c.broker.meshes.ListInvites(ctx, c.actor)
	if err != nil {
		return err
	}
	answer := wire.Invites{Type: wire.TypeInvites, Invites: make([]wire.InviteRow, 0, len(invites)), ReqID: frame.ReqID}
	for i := range invites {
		answer.Invites = append(answer.Invites, invites[i].Row())
	}
	c.send(answer)
	c.fine(priceOfRows(len(invites)))
	return nil
}

func (c *conn) revokeInvite(frame *wire.Frame) error {
	text, err := wire.DecodeInviteRevoke(frame)
	if err != nil {
		return err
	}
	id, err := wire.ParseID(text)
	if err != nil {
		return &wire.FieldError{Field: "inviteId", Want: "an invite's id"}
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	if err := c.broker.meshes.RevokeInvite(ctx, c.actor, id, time.Now()); err != nil {
		return err
	}
	c.note(audit.InviteRevokedDetail{Invite: id})
	return c.acknowledged(frame, nil)
}

func (c *conn) listMembers(frame *wire.Frame) error {
	members := c.room.members.Members()
	answer := wire.Members{Type: wire.TypeMembers, Members: make([]wire.MemberRow, 0, len(members)), ReqID: frame.ReqID}
	var granted map[wire.Key][]string
	if me, ok := c.room.members.Member(c.member); ok {
		granted = me.Grants
	}
	for _, m := range members {
		row := m.Row()
		row.Granted = granted[m.Key]
		answer.Members = append(answer.Members, row)
	}
	c.send(answer)
	c.fine(priceOfRows(len(members)))
	return nil
}

func (c *conn) setRole(frame *wire.Frame) error {
	m, err := wire.DecodeMemberSetRole(frame)
	if err != nil {
		return err
	}
	key, err := memberKey(m.Pubkey)
	if err != nil {
		return err
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	member, was, err := c.broker.meshes.SetRole(ctx, c.actor, key, mesh.Role(m.Role))
	if err != nil {
		return err
	}
	if was != member.Role {
		c.note(audit.RoleChangedDetail{Member: member.ID, From: string(was), To: string(member.Role)})
		c.room.mu.Lock()
		c.room.presences.MemberChanged(key)
		c.room.mu.Unlock()
	}
	return c.acknowledged(frame, nil)
}

func (c *conn) removeMember(frame *wire.Frame) error {
	text, err := wire.DecodeMemberRemove(frame)
	if err != nil {
		return err
	}
	key, err := memberKey(text)
	if err != nil {
		return err
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	member, err := c.broker.meshes.Remove(ctx, c.actor, key, time.Now())
	if err != nil {
		return err
	}
	c.note(audit.MemberRemovedDetail{Member: member.ID, Key: member.Key})
	if member.ID == c.actor.MemberID { // it leaves: its own connection ends too, after the answer
		err = c.acknowledged(frame, nil)
		c.room.expel(member.ID, key, "")
		return err
	}
	c.room.expel(member.ID, key, "")
	return c.acknowledged(frame, nil)
}

// expel ends every presence and connection of a removed member. word, which may be "",
// is for the member to read.
func (r *room) expel(member wire.ID, key wire.Key, word string) {
	r.mu.Lock()
	defer r.unlock()
	all := slices.Clone(r.presences.ByMember(key))
	for _, p := range all {
		r.sendAwayLocked(p, endRemoved, wire.CloseBanned, wire.ReasonBanned, word)
		r.queue.End(r.mailboxLocked(p))
	}
	for _, known := range r.presences.KnownOf(member) { // sessions that are away
		r.queue.End(r.sessionMailbox(known.SessionKey))
	}
	for _, p := range all {
		r.resettleLocked(p)
	}
	r.queue.End(r.memberMailbox(key))
	for c := range r.guests {
		if c.member == key {
			c.end(endRemoved, wire.CloseBanned, wire.ReasonBanned)
		}
	}
	r.saveLocked()
}

func (c *conn) setGrant(frame *wire.Frame) error {
	m, err := wire.DecodeGrantSet(frame)
	if err != nil {
		return err
	}
	key, err := memberKey(m.Pubkey)
	if err != nil {
		return err
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	if _, err := c.broker.meshes.SetGrant(ctx, c.actor, key, m.Capabilities, m.Default); err != nil {
		return err
	}
	return c.acknowledged(frame, nil)
}

func memberKey(text string) (wire.Key, error) {
	key, err := wire.ParseKey(text)
	if err != nil {
		return wire.Key{}, &wire.FieldError{Field: "pubkey", Want: "64 lowercase hex chars"}
	}
	return key, nil
}

// auditPage is how many entries an audit_query gets by default.
const auditPage = 100

func (c *conn) queryAudit(frame *wire.Frame) error {
	q, err := wire.DecodeAuditQuery(frame)
	if err != nil {
		return err
	}
	if me, ok := c.room.members.Member(c.member); !ok || !me.CanAdmin() {
		return &requestError{wire.CodeForbidden, "only the owner and admins may read the audit log"}
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	limit := int(q.Limit)
	if limit == 0 {
		limit = auditPage
	}
	if q.Last > 0 {
		head, err := c.broker.storage.AuditHead(ctx, c.room.id)
		if err != nil {
			return err
		}
		q.After, limit = max(0, head.Seq-q.Last), int(q.Last)
	}
	entries, err := c.broker.storage.AuditEntries(ctx, c.room.id, q.After, limit)
	if err != nil {
		return err
	}
	answer := wire.AuditEntries{Type: wire.TypeAuditEntries, Entries: make([]wire.AuditRow, 0, len(entries)), ReqID: frame.ReqID}
	for _, e := range entries {
		answer.Entries = append(answer.Entries, audit.Row(e))
	}
	c.send(answer)
	c.fine(priceOfRows(len(entries)))
	return nil
}

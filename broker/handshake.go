package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// rejection is why a hello is refused. close and reason default to 1008 and code.
type rejection struct {
	code    wire.Code
	message string
	close   int
	reason  string
}

func (r *rejection) Error() string { return r.message }

func reject(code wire.Code, format string, args ...any) error {
	return &rejection{code: code, message: fmt.Sprintf(format, args...)}
}

// hello serves a member connection or a one-shot command. SPEC.md, section 5, prescribes
// the order of the checks.
func (c *conn) hello(frame *wire.Frame) error {
	h := wire.DecodeHello(frame)
	now := time.Now()
	var session wire.Key
	if h.SessionPubkey != "" && h.Has(wire.CapTransient) {
		// Nothing would check the claim: a transient connection is in no roster.
		return reject(wire.CodeBadSessionPubkey, "a transient connection sends under its member key: omit sessionPubkey")
	}
	if h.SessionPubkey != "" {
		var err error
		if session, err = wire.ParseKey(h.SessionPubkey); err != nil {
			return reject(wire.CodeBadSessionPubkey, "sessionPubkey %s", err)
		}
	}
	member, keyErr := wire.ParseKey(h.Pubkey)
	a := &presence.Arrival[*conn]{Hello: c.broker.hellos.Add(1), MemberKey: member, SessionKey: session, About: &h.About}
	if err := c.capacity(h.MeshID, a); err != nil {
		return err
	}
	sig, sigErr := wire.ParseSignature(h.Signature)
	err := c.broker.checks.do(func() error { return identity.VerifyHello(h.MeshID, h.MemberID, member, h.Timestamp, sig, now) })
	if errors.Is(err, identity.ErrTimestampSkew) {
		return reject(wire.CodeTimestampSkew, "hello rejected: %s", wire.CodeTimestampSkew)
	} else if keyErr != nil || sigErr != nil || h.Malformed != nil {
		return malformed("hello", h.Malformed)
	} else if err != nil {
		return reject(wire.CodeBadSignature, "hello rejected: %s", wire.CodeBadSignature)
	}
	room, m, err := c.membership(h.MeshID, member, "pubkey")
	if err != nil {
		return err
	}
	if m.ID.String() != h.MemberID {
		return reject(wire.CodeMemberIDMismatch, "memberId is not the id of this pubkey")
	}
	return c.enter(room, m, a, sig, now, h.AuditSize)
}

// sessionHello serves the connection of a Claude Code session.
func (c *conn) sessionHello(frame *wire.Frame) error {
	h := wire.DecodeSessionHello(frame)
	now := time.Now()
	session, err := wire.ParseKey(h.SessionPubkey)
	if err != nil {
		return reject(wire.CodeBadSessionPubkey, "sessionPubkey %s", err)
	}
	member, err := wire.ParseKey(h.ParentMemberPubkey)
	if err != nil {
		return reject(wire.CodeBadParentPubkey, "parentMemberPubkey %s", err)
	}
	if h.Attestation.SessionPubkey != h.SessionPubkey || h.Attestation.ParentMemberPubkey != h.ParentMemberPubkey {
		return reject(wire.CodeAttestationMismatch, "parentAttestation does not bind the claimed session+parent pubkeys")
	}
	attestation := h.Attestation // outlives the hello
	a := &presence.Arrival[*conn]{
		Hello: c.broker.hellos.Add(1), MemberKey: member, SessionKey: session, Proven: true, About: &h.About,
		Attestation: &attestation, Succeeds: claimedSuccessions(h.Succeeds),
	}
	if err := c.capacity(h.MeshID, a); err != nil {
		return err
	}
	if err := c.broker.checks.do(func() error { return verifyAttestation(h.Attestation, member, session, now) }); err != nil {
		return err
	}
	sig, sigErr := wire.ParseSignature(h.Signature)
	err = c.broker.checks.do(func() error { return identity.VerifySessionHello(h.MeshID, member, session, h.Timestamp, sig, now) })
	if errors.Is(err, identity.ErrTimestampSkew) {
		return reject(wire.CodeTimestampSkew, "session_hello rejected: %s", wire.CodeTimestampSkew)
	} else if sigErr != nil || h.Malformed != nil {
		return malformed("session_hello", h.Malformed)
	} else if err != nil {
		return reject(wire.CodeBadSignature, "session_hello rejected: %s", wire.CodeBadSignature)
	}
	room, m, err := c.membership(h.MeshID, member, "parent pubkey")
	if err != nil {
		return err
	}
	if h.ParentMemberID != "" && m.ID.String() != h.ParentMemberID {
		return reject(wire.CodeParentMemberIDMismatch, "parentMemberId is not the id of parentMemberPubkey")
	}
	a.Succeeds = room.provenSuccessions(m.ID, session, h.Succeeds)
	return c.enter(room, m, a, sig, now, -1)
}

func malformed(what string, field error) error {
	if field == nil {
		return reject(wire.CodeMalformed, "%s rejected: %s", what, wire.CodeMalformed)
	}
	return reject(wire.CodeMalformed, "%s rejected: %s: %s", what, wire.CodeMalformed, field)
}

func verifyAttestation(a wire.Attestation, member, session wire.Key, now time.Time) error {
	sig, sigErr := wire.ParseSignature(a.Signature)
	err := identity.Attestation{
		SessionPubkey: session, ParentMemberPubkey: member, ExpiresAt: a.ExpiresAt, Signature: sig,
	}.Verify(now)
	code := wire.CodeBadSignature
	switch {
	case errors.Is(err, identity.ErrExpired):
		code = wire.CodeExpired
	case errors.Is(err, identity.ErrTTLTooLong):
		code = wire.CodeTTLTooLong
	case sigErr != nil:
		code = wire.CodeMalformed
	case err == nil:
		return nil
	}
	return reject(code, "attestation rejected: %s", code)
}

// capacity refuses a hello that needs a new presence in a full mesh, before its signatures are
// checked. Only a mesh in memory can be full.
func (c *conn) capacity(meshID string, a *presence.Arrival[*conn]) error {
	id, err := wire.ParseID(meshID)
	if err != nil || a.About.Has(wire.CapTransient) && !a.Proven {
		return nil
	}
	room := c.broker.roomInMemory(id)
	if room == nil {
		return nil
	}
	room.mu.RLock()
	defer room.mu.RUnlock()
	if room.presences.Plan(a).NeedsSlot && room.presences.Len() >= c.broker.Settings().MaxConnectionsPerMesh {
		return errCapacity
	}
	return nil
}

var errCapacity = reject(wire.CodeCapacity, "mesh at connection capacity")

// membership finds the mesh and the member behind a proven key.
func (c *conn) membership(meshID string, key wire.Key, what string) (*room, *mesh.Member, error) {
	unauthorized := reject(wire.CodeUnauthorized, "%s not found in mesh", what)
	id, err := wire.ParseID(meshID)
	if err != nil {
		return nil, nil, unauthorized
	}
	room, err := c.broker.roomOnceClaimed(c.dead, id, c.canRelay())
	if errors.Is(err, mesh.ErrMeshNotFound) {
		return nil, nil, unauthorized
	}
	if err != nil {
		return nil, nil, err
	}
	m, ok := room.members.Member(key)
	if !ok {
		return nil, nil, unauthorized
	}
	if m.Removed() {
		return nil, nil, room.revoked(m)
	}
	return room, m, nil
}

// enter makes the connection a peer, or a transient one, and answers the hello. auditSize is
// that of wire.Hello.
func (c *conn) enter(r *room, m *mesh.Member, a *presence.Arrival[*conn], sig wire.Signature, now time.Time, auditSize int64) error {
	if c.broker.journal.Full() {
		return fmt.Errorf("serve a hello: %w", queue.ErrFull)
	}
	a.Conn, a.Addr, a.ID = c, c.client, c.broker.ids.New(now)
	a.MemberID, a.DefaultGroups = m.ID, m.Groups
	a.DisplayName = a.About.DisplayName
	if a.DisplayName == "" {
		a.DisplayName = m.DisplayName
	}
	if err := c.broker.replays.Accept(m.Key, sig, now); err != nil {
		c.pause(patience) // otherwise refusing would cost as much as accepting
		if errors.Is(err, identity.ErrReplayed) {
			return reject(wire.CodeReplayed, "this hello was accepted before: sign a new one")
		}
		return tryLater("your member has connected too often within two minutes; try again in two minutes")
	}
	c.account = c.broker.members.open(memberRef{r.id, m.ID}, c.broker.Settings())
	c.out.bill(&c.account.unread)
	if err := c.pay(r.priceOfHello(a)); err != nil {
		c.pause(patience)
		return tryLater(err.Error())
	}
	c.broker.journal.Remember(journal.Hello{Mesh: r.id, Signature: sig, At: now})
	c.actor = mesh.Actor{MeshID: r.id, MemberID: m.ID}
	c.member, c.session, c.key, c.name = m.Key, a.SessionKey, a.SessionKey, a.DisplayName
	if c.key.IsZero() {
		c.key = m.Key
	}
	c.attestation = a.Attestation
	c.notify, c.sealedGroups = a.About.Has(wire.CapCaughtUp), a.About.Has(wire.CapSealedGroups)
	c.keepsRoster = a.About.Has(wire.CapRosterChanged)
	ack := wire.HelloAck{
		Type: wire.TypeHelloAck, PresenceID: a.ID, MemberDisplayName: a.DisplayName,
		MemberProfile: wire.MemberProfile{Groups: orEmpty(m.Groups), MessageMode: "push"},
		MeshPolicy:    wire.MeshPolicy{SelfEditable: wire.SelfEditable{DisplayName: true, RoleTag: true, Groups: true, MessageMode: true}},
		Capabilities:  []string{wire.CapTransient, wire.CapCaughtUp, wire.CapSealedGroups, wire.CapRosterChanged, wire.CapMustReach, wire.CapCheckpoints}, ServerTime: wire.Time{Time: now},
	}
	if !a.Proven {
		ack.Services = &[]string{}
		if auditSize >= 0 {
			ack.Audit = r.checkpoints(auditSize)
		}
	}
	for {
		var err error
		if a.About.Has(wire.CapTransient) && !a.Proven {
			err = r.admitGuest(c, a, &ack)
		} else {
			err = r.join(c, a, &ack, now)
		}
		if !errors.Is(err, errRoomClosed) && !errors.Is(err, storage.ErrSuspended) {
			return err
		}
		if r, err = c.broker.roomOnceClaimed(c.dead, r.id, false); err != nil {
			return err
		}
	}
}

// tryLater refuses a hello that may be retried; text says when.
func tryLater(text string) error {
	return &rejection{code: wire.CodeTryAgain, message: text, close: wire.CloseTryLater}
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

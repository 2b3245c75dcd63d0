package broker

import (
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// Prices are in units of work. One unit is about what the smallest frame and its answer cost:
// ten microseconds of processor time. The other prices follow from the work that a frame makes
// for the broker and for the connections that are told of it.
const (
	priceFrame    = 1   // to read and answer it
	priceKilobyte = 1   // to read a kilobyte of it
	priceChange   = 2   // to change one's presence and store it
	priceQuestion = 30  // to query the storage
	priceWrite    = 100 // to change the storage before the answer
	priceHello    = 50  // to verify signatures and join
	priceDelivery = 4   // to deliver a message to each recipient after the first
	priceDefault  = priceQuestion

	rowsPerUnit    = 4  // of a roster or another list
	hearersPerUnit = 2  // connections that are told of each change
	keepersPerUnit = 20 // connections that are told once of many changes
)

// price is what a type of frame costs besides reading it. Parts of it depend on the size of the
// mesh: rows of the answer, presences that are told. Rows that only the storage can count are
// paid for with the answer.
type price struct {
	flat int
	rows func(*conn, *wire.Frame) int // number of rows in the answer
	news bool                         // other peers are told
}

// grows reports whether the price depends on the size of the mesh.
func (p price) grows() bool { return p.rows != nil || p.news }

// prices holds the prices by type. Other types that are served cost priceDefault. The send rate
// pays for a send, except for its recipients after the first; the sender of a message pays for
// its client_ack.
var prices = map[string]price{
	wire.TypeListPeers:     {rows: (*conn).rosterRows},
	wire.TypeMemberList:    {flat: priceQuestion},
	wire.TypeSetStatus:     {flat: priceChange},
	wire.TypeSetSummary:    {flat: priceChange},
	wire.TypeSetStats:      {flat: priceChange},
	wire.TypeSetVisible:    {flat: priceChange, news: true},
	wire.TypeSetProfile:    {flat: priceChange, news: true},
	wire.TypeJoinGroup:     {flat: priceChange},
	wire.TypeLeaveGroup:    {flat: priceChange},
	wire.TypeMessageStatus: {flat: priceQuestion},
	wire.TypeInviteCreate:  {flat: priceWrite},
	wire.TypeInviteList:    {flat: priceQuestion},
	wire.TypeInviteRevoke:  {flat: priceWrite},
	wire.TypeMemberSetRole: {flat: priceWrite},
	wire.TypeMemberRemove:  {flat: priceWrite},
	wire.TypeGrantSet:      {flat: priceWrite},
	wire.TypeAuditQuery:    {flat: priceQuestion},
	wire.TypeKick:          {flat: priceChange, news: true},
	wire.TypeDisconnect:    {flat: priceChange, news: true},
	wire.TypeBan:           {flat: priceWrite},
	wire.TypeUnban:         {flat: priceWrite},
	wire.TypeListBans:      {flat: priceQuestion},
	wire.TypeMeshInfo:      {rows: (*conn).rosterRows},
	wire.TypeListSkills:    {},
	wire.TypeGetSkill:      {},
	wire.TypeGetState:      {},
	wire.TypeListState:     {},
	wire.TypeRecall:        {},
	wire.TypeTopicList:     {},
	wire.TypeListTasks:     {},
}

// prepaid reports whether priceOf does not apply to a frame.
func prepaid(frame *wire.Frame) bool {
	return frame.Type == wire.TypeSend || frame.Type == wire.TypeClientAck
}

// priceOf returns the price of a frame of size bytes. A frame that could not be parsed has no
// type.
func (c *conn) priceOf(frame *wire.Frame, size int) int {
	p, known := prices[frame.Type]
	if _, served := handlers[frame.Type]; served && !known {
		p.flat = priceDefault
	}
	sum := priceFrame + size/1024*priceKilobyte + p.flat
	if p.rows != nil {
		sum += p.rows(c, frame) / rowsPerUnit
	}
	if p.news {
		sum += c.room.news.price()
	}
	return sum
}

// priceOfHello returns what an arrival costs.
func (r *room) priceOfHello(a *presence.Arrival[*conn]) int {
	r.mu.RLock()
	isNew := r.presences.Plan(a).New
	r.mu.RUnlock()
	if a.About.Has(wire.CapTransient) && !a.Proven || !isNew {
		return priceHello
	}
	return priceHello + r.news.price()
}

// price returns the price of telling everybody of an event.
func (n *news) price() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.hearers)/hearersPerUnit + len(n.keepers)/keepersPerUnit
}

// priceOfRows is what the rows of an answer cost.
func priceOfRows(n int) int { return n / rowsPerUnit }

// priceOfTargets returns the price of a message's recipients after the first. A copy has one
// recipient, which the message itself has paid for.
func (c *conn) priceOfTargets(targets []wire.Target) int {
	recipients := 0
	var audience []*presence.Presence[*conn]
	c.room.mu.RLock()
	for _, t := range targets {
		switch t.Kind {
		case wire.TargetAll, wire.TargetGroup: // the former has no name
			audience = c.room.presences.Audience(audience[:0], c.member, t.Name)
			recipients += len(audience)
		default:
			recipients++
		}
	}
	c.room.mu.RUnlock()
	return max(0, recipients-1) * priceDelivery
}

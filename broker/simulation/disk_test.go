package simulation

import (
	"context"
	"errors"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// disk holds what is committed. It outlives brokers; each broker reaches it through its own
// session.
type disk struct {
	mu       sync.Mutex
	meshes   map[wire.ID]mesh.Mesh
	members  map[wire.ID][]mesh.Member
	messages map[wire.ID]*queue.Accepted
	order    []wire.ID             // of messages, as they were stored
	byClient map[clientKey]wire.ID // → message
	bySeq    map[place]*delivery
	boxes    map[queue.Mailbox][]*delivery
	records  map[recordKey]presence.Record
	chains   map[wire.ID][]audit.Entry
	hellos   map[wire.ID]map[wire.Signature]time.Time // by mesh
	marks    map[wire.ID]queue.Mark
	commits  int
	registry registry
	key      audit.Key // of the audit logs
}

type clientKey struct {
	mesh, member wire.ID
	id           string
}

type recordKey struct {
	mesh wire.ID
	id   presence.Identity
}

// place is the position of a delivery among all deliveries of its mesh.
type place struct {
	mesh wire.ID
	seq  int64
}

type delivery struct {
	*queue.Recipient
	message *queue.Accepted
}

func newDisk() *disk {
	return &disk{
		meshes: make(map[wire.ID]mesh.Mesh), members: make(map[wire.ID][]mesh.Member),
		messages: make(map[wire.ID]*queue.Accepted), byClient: make(map[clientKey]wire.ID),
		bySeq: make(map[place]*delivery), boxes: make(map[queue.Mailbox][]*delivery),
		records: make(map[recordKey]presence.Record), chains: make(map[wire.ID][]audit.Entry),
		hellos: make(map[wire.ID]map[wire.Signature]time.Time), marks: make(map[wire.ID]queue.Mark),
		registry: registry{nodes: make(map[int64]*row), owners: make(map[wire.ID]ownership), stolen: make(map[theft]bool), robbed: make(map[int64]time.Time)},
	}
}

// clone copies a batch, so that it can be committed after its owner has changed the original.
func clone(b *journal.Batch) *journal.Batch {
	c := *b
	c.Messages = nil
	for _, m := range b.Messages {
		kept := *m
		kept.Recipients = append([]queue.Recipient(nil), m.Recipients...)
		c.Messages = append(c.Messages, &kept)
	}
	c.Audit = append([]audit.Entry(nil), b.Audit...)
	return &c
}

// commitLocked writes a batch, all or nothing.
func (d *disk) commitLocked(b *journal.Batch) ([]journal.Duplicate, error) {
	next := make(map[wire.ID]int64)
	for _, e := range b.Audit {
		if _, ok := next[e.MeshID]; !ok {
			next[e.MeshID] = int64(len(d.chains[e.MeshID])) + 1
		}
		if e.Seq != next[e.MeshID] {
			return nil, journal.ErrForked
		}
		next[e.MeshID]++
	}
	d.commits++
	for _, e := range b.Audit {
		d.chains[e.MeshID] = append(d.chains[e.MeshID], e)
	}
	var duplicates []journal.Duplicate
	for i, m := range b.Messages {
		if original, ok := d.originalLocked(m); ok {
			if original != m.ID {
				duplicates = append(duplicates, journal.Duplicate{Index: i, Original: original})
			}
			continue
		}
		d.insertLocked(m)
	}
	d.settleLocked(b)
	for _, r := range b.Presences {
		key := recordKey{r.MeshID, r.Identity}
		if !r.EndedAt.IsZero() && !r.Identity.Returns() {
			delete(d.records, key)
		} else {
			d.records[key] = r
		}
	}
	for _, h := range b.Hellos {
		if d.hellos[h.Mesh] == nil {
			d.hellos[h.Mesh] = make(map[wire.Signature]time.Time)
		}
		if _, ok := d.hellos[h.Mesh][h.Signature]; !ok {
			d.hellos[h.Mesh][h.Signature] = h.At
		}
	}
	return duplicates, nil
}

// originalLocked returns the id under which a message is stored already.
func (d *disk) originalLocked(m *queue.Accepted) (wire.ID, bool) {
	if _, ok := d.messages[m.ID]; ok {
		return m.ID, true
	}
	if m.ClientID == "" {
		return wire.ID{}, false
	}
	id, ok := d.byClient[clientKey{m.MeshID, m.SenderMember, m.ClientID}]
	return id, ok
}

func (d *disk) insertLocked(m *queue.Accepted) {
	kept := *m
	kept.Recipients = append([]queue.Recipient(nil), m.Recipients...)
	d.messages[m.ID] = &kept
	d.order = append(d.order, m.ID)
	mark := d.marks[m.MeshID]
	if slices.Compare(m.ID[:], mark.Message[:]) > 0 {
		mark.Message = m.ID
	}
	if m.ClientID != "" {
		d.byClient[clientKey{m.MeshID, m.SenderMember, m.ClientID}] = m.ID
	}
	for i := range kept.Recipients {
		r := &delivery{&kept.Recipients[i], &kept}
		d.bySeq[place{m.MeshID, r.Seq}] = r
		d.boxes[r.Mailbox] = append(d.boxes[r.Mailbox], r)
		mark.Seq = max(mark.Seq, r.Seq)
	}
	d.marks[m.MeshID] = mark
}

func (d *disk) settleLocked(b *journal.Batch) {
	for _, s := range b.Settled {
		if r := d.bySeq[place{s.Mesh, s.Seq}]; r != nil && r.State == queue.Pending {
			r.State, r.SettledAt = s.State, s.At
		}
	}
	for _, c := range b.Closed {
		for _, r := range d.boxes[c.Mailbox] {
			if r.State == queue.Pending && r.Seq <= c.Upto {
				r.State, r.SettledAt = queue.Gone, c.At
			}
		}
	}
}

// expireLocked is queue.Store's Sweep, except that it deletes no messages: that takes a day, which is
// longer than any schedule.
func (d *disk) expireLocked(before, now time.Time, limit int, ours func(mesh wire.ID) bool) int {
	n := 0
	for _, id := range d.order {
		m := d.messages[id]
		if !m.CreatedAt.Before(before) || !ours(m.MeshID) {
			continue
		}
		for i := range m.Recipients {
			if r := &m.Recipients[i]; r.State == queue.Pending && n < limit {
				r.State, r.SettledAt = queue.Expired, now
				n++
			}
		}
	}
	return n
}

func (d *disk) backlogLocked(box queue.Mailbox, after int64, urgentOnly bool, limit int) []queue.Waiting {
	var page []queue.Waiting
	for _, r := range d.boxes[box] {
		if r.State == queue.Pending && r.Seq > after && (!urgentOnly || r.message.Priority == wire.Now) {
			page = append(page, queue.Waiting{Seq: r.Seq, SameMember: r.SameMember, Message: r.message.Message})
		}
	}
	sort.Slice(page, func(i, j int) bool { return page[i].Seq < page[j].Seq })
	return page[:min(limit, len(page))]
}

func (d *disk) depthLocked() (all queue.Depth) {
	for _, m := range d.messages {
		for _, r := range m.Recipients {
			if r.State != queue.Pending {
				continue
			}
			all.Deliveries++
			if all.Oldest.IsZero() || m.CreatedAt.Before(all.Oldest) {
				all.Oldest = m.CreatedAt
			}
		}
	}
	return all
}

func (d *disk) burdenLocked(id wire.ID) (b queue.Burden) {
	for _, m := range d.messages {
		pending := int64(0)
		for _, r := range m.Recipients {
			if r.State == queue.Pending {
				pending++
			}
		}
		if m.MeshID == id && pending > 0 {
			b.Messages++
			b.Deliveries += pending
			b.Bytes += int64(len(m.Nonce) + len(m.Ciphertext))
			if b.Oldest.IsZero() || m.CreatedAt.Before(b.Oldest) {
				b.Oldest = m.CreatedAt
			}
		}
	}
	return b
}

func (d *disk) findLocked(id wire.ID, prefix string, limit int) []queue.Accepted {
	var found []queue.Accepted
	for _, m := range d.messages {
		if m.MeshID == id && strings.HasPrefix(m.ID.String(), prefix) && len(found) < limit {
			c := *m
			c.Recipients = append([]queue.Recipient(nil), m.Recipients...)
			found = append(found, c)
		}
	}
	return found
}

func (d *disk) sentLocked(id, member wire.ID, limit int) []queue.Sent {
	var list []queue.Sent
	for i := len(d.order) - 1; i >= 0 && len(list) < limit; i-- {
		if m := d.messages[d.order[i]]; m.MeshID == id && m.SenderMember == member && m.ClientID != "" {
			list = append(list, queue.Sent{ClientID: m.ClientID, MessageID: m.ID})
		}
	}
	return list
}

// shift makes everything older by a time, or younger if the time is negative. A broker sees the
// disk like that if its clock was set while the broker was not running.
func (d *disk) shift(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.messages {
		m.CreatedAt = m.CreatedAt.Add(-by)
	}
	for key, r := range d.records {
		r.StatusAt, r.ConnectedAt, r.LastSeenAt = r.StatusAt.Add(-by), r.ConnectedAt.Add(-by), r.LastSeenAt.Add(-by)
		if !r.EndedAt.IsZero() {
			r.EndedAt = r.EndedAt.Add(-by)
		}
		d.records[key] = r
	}
	for _, hellos := range d.hellos {
		for sig, at := range hellos {
			hellos[sig] = at.Add(-by)
		}
	}
	for id, mark := range d.marks {
		if by < 0 && !mark.Message.IsZero() {
			var ids wire.IDSource
			mark.Message = ids.New(mark.Message.Time().Add(-by))
			d.marks[id] = mark
		}
	}
}

// record returns the committed record of a presence.
func (d *disk) record(id wire.ID, identity presence.Identity) (presence.Record, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.records[recordKey{id, identity}]
	return r, ok
}

// state returns the committed state of a delivery.
func (d *disk) state(message wire.ID, box string) (queue.State, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.messages[message]
	if m == nil {
		return 0, false
	}
	for i := range m.Recipients {
		if m.Recipients[i].Mailbox.Name == box {
			return m.Recipients[i].State, true
		}
	}
	return 0, false
}

// holds reports whether a member's message is committed under its client id.
func (d *disk) holds(key clientKey) (wire.ID, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.byClient[key]
	return id, ok
}

// pending lists the committed messages that wait, as client ids by mailbox.
func (d *disk) pending() map[queue.Mailbox][]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make(map[queue.Mailbox][]string)
	for _, id := range d.order {
		for _, r := range d.messages[id].Recipients {
			if r.State == queue.Pending {
				list[r.Mailbox] = append(list[r.Mailbox], d.messages[id].ClientID)
			}
		}
	}
	return list
}

// AuditLogs, AuditHead and AuditEntries make the disk an audit.Store for the
// final verification.
func (d *disk) AuditLogs(context.Context) ([]audit.Log, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []audit.Log
	for id := range d.chains {
		list = append(list, audit.Log{Mesh: id, Head: d.headLocked(id)})
	}
	return list, nil
}

// The simulated brokers don't prune audit logs, and nobody restores a backup.
func (d *disk) AuditRestores(context.Context, wire.ID, int) ([]string, error) { return nil, nil }
func (d *disk) AddAuditRestore(context.Context, wire.ID, time.Time, string) error {
	return errors.ErrUnsupported
}
func (d *disk) AuditPruned(context.Context, wire.ID) (string, error) { return "", nil }
func (d *disk) PruneAudit(context.Context, wire.ID, int64, string, int) (int, error) {
	return 0, errors.ErrUnsupported
}

func (d *disk) AuditKey(_ context.Context, fresh audit.Key) (audit.Key, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.key.IsZero() {
		d.key = fresh
	}
	return d.key, nil
}

func (d *disk) AuditHead(_ context.Context, id wire.ID) (audit.Head, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.headLocked(id), nil
}

func (d *disk) headLocked(id wire.ID) audit.Head {
	chain := d.chains[id]
	if len(chain) == 0 {
		return audit.Head{}
	}
	last := chain[len(chain)-1]
	return audit.Head{Seq: last.Seq, Hash: last.Hash}
}

func (d *disk) AuditEntries(_ context.Context, id wire.ID, after int64, limit int) ([]audit.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	chain := d.chains[id]
	from := min(int(after), len(chain))
	return append([]audit.Entry(nil), chain[from:min(len(chain), from+limit)]...), nil
}

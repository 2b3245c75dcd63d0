// Package plan sorts out what a journal.Batch writes before it meets a database,
// so that the statements of both storages see each row once.
package plan

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

// ClientKey is what makes a message idempotent.
type ClientKey struct {
	Mesh, Member wire.ID
	ClientID     string
}

// ClientKeyOf returns the key of a message, and whether it has one.
func ClientKeyOf(m *queue.Message) (ClientKey, bool) {
	return ClientKey{m.MeshID, m.SenderMember, column.Text(m.ClientID)}, m.ClientID != ""
}

// Pending returns the recipients that have not acknowledged a message. As long as there
// are any, its body is needed.
func Pending(m *queue.Accepted) (pending []*queue.Recipient) {
	for i := range m.Recipients {
		if r := &m.Recipients[i]; r.State == queue.Pending {
			pending = append(pending, r)
		}
	}
	return pending
}

// Mark is how far a mesh comes with a batch.
type Mark struct {
	Mesh wire.ID
	queue.Mark
}

// Marks returns how far the messages of a batch bring each of their meshes, in the order
// of mesh ids.
func Marks(messages []*queue.Accepted) []Mark {
	var marks []Mark
	for _, m := range messages {
		i, found := slices.BinarySearchFunc(marks, m.MeshID, func(k Mark, id wire.ID) int { return bytes.Compare(k.Mesh[:], id[:]) })
		if !found {
			marks = slices.Insert(marks, i, Mark{Mesh: m.MeshID})
		}
		k := &marks[i]
		if bytes.Compare(m.ID[:], k.Message[:]) > 0 {
			k.Message = m.ID
		}
		for i := range m.Recipients {
			k.Seq = max(k.Seq, m.Recipients[i].Seq)
		}
	}
	return marks
}

// SortRecipients puts the recipients of each message in the order of Seq: a storage
// reads them from two places.
func SortRecipients(messages []queue.Accepted) {
	for _, m := range messages {
		slices.SortFunc(m.Recipients, func(a, b queue.Recipient) int { return cmp.Compare(a.Seq, b.Seq) })
	}
}

// Messages tells which messages of a batch to insert, and which repeat another
// of the same batch.
type Messages struct {
	New     []int       // indexes, in order
	Repeats map[int]int // index → index of the message that it repeats
}

// SortMessages looks for messages with the same client key or id.
func SortMessages(messages []*queue.Accepted) Messages {
	type id struct{ mesh, message wire.ID }
	sorted := Messages{New: make([]int, 0, len(messages)), Repeats: map[int]int{}}
	ids := make(map[id]int, len(messages))
	keys := make(map[ClientKey]int, len(messages))
	for i, m := range messages {
		key, keyed := ClientKeyOf(&m.Message)
		first, repeated := ids[id{m.MeshID, m.ID}]
		if !repeated && keyed {
			first, repeated = keys[key]
		}
		if repeated {
			sorted.Repeats[i] = first
			continue
		}
		ids[id{m.MeshID, m.ID}] = i
		if keyed {
			keys[key] = i
		}
		sorted.New = append(sorted.New, i)
	}
	return sorted
}

// Duplicates lists the messages of a batch that are stored under another id.
// stored gives, by index, the ids of messages that were stored before the batch.
func (s Messages) Duplicates(messages []*queue.Accepted, stored map[int]wire.ID) []journal.Duplicate {
	if len(s.Repeats)+len(stored) == 0 {
		return nil
	}
	var list []journal.Duplicate
	for i, m := range messages {
		origin := i
		if first, ok := s.Repeats[i]; ok {
			origin = first
		}
		original, ok := stored[origin]
		if !ok {
			original = messages[origin].ID
		}
		if original != m.ID {
			list = append(list, journal.Duplicate{Index: i, Original: original})
		}
	}
	return list
}

// Settlements returns each delivery once, as it was settled first.
func Settlements(settled []queue.Settlement) []queue.Settlement {
	type delivery struct {
		mesh wire.ID
		seq  int64
	}
	seen := make(map[delivery]bool, len(settled))
	once := make([]queue.Settlement, 0, len(settled))
	for _, s := range settled {
		if d := (delivery{s.Mesh, s.Seq}); s.State != queue.Pending && !seen[d] {
			seen[d] = true
			once = append(once, s)
		}
	}
	return once
}

// Closings returns each mailbox once: when it was closed first, and all that was meant.
func Closings(closed []queue.Closing) []queue.Closing {
	seen := make(map[queue.Mailbox]int, len(closed))
	once := make([]queue.Closing, 0, len(closed))
	for _, c := range closed {
		c.Mailbox.Name = column.Text(c.Mailbox.Name)
		if i, again := seen[c.Mailbox]; again {
			once[i].Upto = max(once[i].Upto, c.Upto)
			continue
		}
		seen[c.Mailbox] = len(once)
		once = append(once, c)
	}
	return once
}

// Presences returns the records to keep and those to delete, each identity once,
// as it came last.
func Presences(records []presence.Record) (keep, remove []*presence.Record) {
	type key struct {
		mesh     wire.ID
		identity string
	}
	last := make(map[key]int, len(records))
	for i := range records {
		last[key{records[i].MeshID, column.Text(string(records[i].Identity))}] = i
	}
	for i := range records {
		r := &records[i]
		switch {
		case last[key{r.MeshID, column.Text(string(r.Identity))}] != i:
		case !r.EndedAt.IsZero() && strings.HasPrefix(string(r.Identity), "p/"):
			remove = append(remove, r)
		default:
			keep = append(keep, r)
		}
	}
	return keep, remove
}

// Heads returns the newest of the entries of each chain, in the order in which
// the chains come first.
func Heads(entries []audit.Entry) []*audit.Entry {
	at := make(map[wire.ID]int)
	var heads []*audit.Entry
	for i := range entries {
		e := &entries[i]
		j, ok := at[e.MeshID]
		switch {
		case !ok:
			at[e.MeshID] = len(heads)
			heads = append(heads, e)
		case e.Seq > heads[j].Seq:
			heads[j] = e
		}
	}
	return heads
}

// IDRange returns the least and the greatest id whose hex begins with prefix;
// ok is false when there is none.
func IDRange(prefix string) (least, greatest wire.ID, ok bool) {
	const digits = 2 * len(wire.ID{})
	if len(prefix) > digits {
		return least, greatest, false
	}
	missing := digits - len(prefix)
	least, err := wire.ParseID(prefix + strings.Repeat("0", missing))
	if err != nil {
		return least, greatest, false
	}
	greatest, err = wire.ParseID(prefix + strings.Repeat("f", missing))
	return least, greatest, err == nil
}

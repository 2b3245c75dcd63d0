// Package plan prepares a journal.Batch for a database, so that the statements of both
// storages see each row only once.
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

// clientKey identifies a message across retries.
type clientKey struct {
	Mesh, Member wire.ID
	ClientID     string
}

// clientKeyOf returns the client key of a message and whether it has one.
func clientKeyOf(m *queue.Message) (clientKey, bool) {
	return clientKey{m.MeshID, m.SenderMember, column.Text(m.ClientID)}, m.ClientID != ""
}

// Pending returns the recipients that have not acknowledged a message. The message needs
// its body as long as there are any.
func Pending(m *queue.Accepted) (pending []*queue.Recipient) {
	for i := range m.Recipients {
		if r := &m.Recipients[i]; r.State == queue.Pending {
			pending = append(pending, r)
		}
	}
	return pending
}

// Mark is how far a mesh gets with a batch.
type Mark struct {
	Mesh wire.ID
	queue.Mark
}

// Marks returns how far the messages of a batch take each of their meshes, ordered by mesh
// id.
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

// SortRecipients sorts the recipients of each message by Seq, because a storage reads them
// from two places.
func SortRecipients(messages []queue.Accepted) {
	for _, m := range messages {
		slices.SortFunc(m.Recipients, func(a, b queue.Recipient) int { return cmp.Compare(a.Seq, b.Seq) })
	}
}

// Messages says which messages of a batch to insert and which repeat another message of
// the same batch.
type Messages struct {
	New     []int       // indexes, in order
	Repeats map[int]int // index → index of the message that it repeats
}

// SortMessages finds messages with the same client key or id.
func SortMessages(messages []*queue.Accepted) Messages {
	type id struct{ mesh, message wire.ID }
	sorted := Messages{New: make([]int, 0, len(messages)), Repeats: map[int]int{}}
	ids := make(map[id]int, len(messages))
	keys := make(map[clientKey]int, len(messages))
	for i, m := range messages {
		key, keyed := clientKeyOf(&m.Message)
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

// Duplicates lists the messages of a batch that are stored under another id. stored
// contains, by index, the ids of messages that were stored before the batch.
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

// Settlements returns each delivery once, with its first settlement.
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

// Closings returns each mailbox once, with the time of its first closing and everything
// that the closings cover.
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

// Presences returns the records to keep and those to delete. Each identity occurs once,
// with its last record.
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

// Heads returns the newest entry of each chain, in the order in which the chains first
// occur.
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

// IDRange returns the least and the greatest id whose hex begins with prefix. If there is
// none, ok is false.
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

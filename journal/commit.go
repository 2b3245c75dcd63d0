package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// work is what one commit is about.
type work struct {
	batch    Batch
	entries  []*queue.Entry
	settling []queue.Settling
	events   []audit.Event   // other than those of the messages
	flushed  []chan struct{} // calls of Flush that wait for nothing beyond this batch
	saved    []saving
	tried    map[audit.Head]bool // heads that an unanswered attempt may have stored
}

// take makes the next batch of what is pending. It keeps the order of one member's entries
// and of settlements: an acknowledgement never comes before its message, and a mailbox is
// closed after everything accepted for it before.
func (j *Journal) take() work {
	var w work
	j.mu.Lock()
	p := &j.pending
	w.entries = p.budget.take(batchMessages, batchCost)
	w.settling = p.settling.take(batchOthers)
	w.events = p.events.take(batchOthers)
	w.batch.Hellos = p.hellos.take(batchOthers)
	w.batch.Closed = p.takeClosed()
	j.writing = make(map[presenceRef]presence.Record, min(len(p.presences), batchOthers))
	for ref, r := range p.presences {
		if len(w.batch.Presences) == batchOthers {
			break
		}
		w.batch.Presences = append(w.batch.Presences, r)
		j.writing[ref] = r
		delete(p.presences, ref)
	}
	p.takeWaiters(&w)
	forgotten := p.forgotten
	p.forgotten = nil
	j.mu.Unlock()

	for _, id := range forgotten {
		delete(j.heads, id)
	}
	for _, e := range w.entries {
		w.batch.Messages = append(w.batch.Messages, e.Freeze())
	}
	for _, s := range w.settling {
		w.batch.Settled = append(w.batch.Settled, s.Settlement)
	}
	return w
}

// release tells everybody who waits for the batch that it is stored.
func (w *work) release() {
	for _, s := range w.saved {
		s.done <- nil
	}
	for _, done := range w.flushed {
		close(done)
	}
}

func (j *Journal) setBegan(t time.Time) {
	j.mu.Lock()
	j.began = t
	j.mu.Unlock()
}

// commit writes the batch and reports its outcome.
func (j *Journal) commit(ctx context.Context, w *work) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	j.setBegan(began)
	duplicates, err := j.write(ctx, w)
	for j.withoutLost(w, err) {
		duplicates, err = j.write(ctx, w)
	}
	j.setBegan(time.Time{})
	if err != nil {
		return err
	}
	j.count(w, len(duplicates), time.Since(began))
	originals := make(map[int]wire.ID, len(duplicates))
	for _, d := range duplicates {
		originals[d.Index] = d.Original
	}
	for i, e := range w.entries {
		e.Stored(originals[i])
	}
	for _, s := range w.settling {
		s.Done()
	}
	j.mu.Lock()
	j.writing = nil
	j.pending.budget.settle(w.entries)
	if len(w.entries) > 0 {
		j.stored = time.Now()
	}
	j.mu.Unlock()
	return nil
}

// write extends the audit chains and commits. If another writer has extended a chain, write
// starts over from the chain's new head. The other writer may have been an earlier,
// unanswered attempt at the same batch.
func (j *Journal) write(ctx context.Context, w *work) ([]Duplicate, error) {
	for attempt := 0; ; attempt++ {
		heads, err := j.chain(ctx, w)
		if err != nil {
			clear(j.heads)
			return nil, err
		}
		duplicates, err := j.store.Commit(ctx, &w.batch)
		if err == nil {
			for id, head := range heads {
				j.heads[id] = head
			}
			return duplicates, nil
		}
		clear(j.heads) // the heads in memory may be outdated
		if w.tried == nil {
			w.tried = make(map[audit.Head]bool)
		}
		for _, head := range heads {
			w.tried[head] = true
		}
		if !errors.Is(err, ErrForked) || attempt == 3 {
			return nil, fmt.Errorf("commit %d messages: %w", len(w.entries), err)
		}
	}
}

// chain makes the batch's audit entries and returns the chains' new heads. A chain whose
// head is that of an earlier attempt has the entries already.
func (j *Journal) chain(ctx context.Context, w *work) (map[wire.ID]audit.Head, error) {
	heads := make(map[wire.ID]audit.Head)
	w.batch.Audit = w.batch.Audit[:0]
	extend := func(event audit.Event) error {
		head, ok := heads[event.MeshID]
		if !ok {
			var err error
			if head, err = j.head(ctx, event.MeshID); err != nil {
				return err
			}
			heads[event.MeshID] = head
		}
		if w.tried[head] {
			return nil
		}
		entry, next := audit.Extend(head, event)
		heads[event.MeshID] = next
		w.batch.Audit = append(w.batch.Audit, entry)
		return nil
	}
	for _, event := range w.events {
		if err := extend(event); err != nil {
			return nil, err
		}
	}
	for _, m := range w.batch.Messages {
		if err := extend(routed(m)); err != nil {
			return nil, err
		}
	}
	return heads, nil
}

// head returns the newest link of a mesh's chain.
func (j *Journal) head(ctx context.Context, id wire.ID) (audit.Head, error) {
	if head, ok := j.heads[id]; ok {
		return head, nil
	}
	head, err := j.store.AuditHead(ctx, id)
	if err != nil {
		return audit.Head{}, fmt.Errorf("read the audit head: %w", err)
	}
	return head, nil
}

// giveBack refuses the messages of a batch that can't be stored, and those that wait behind
// it, except messages that every recipient has acknowledged. Nothing is admitted meanwhile.
func (j *Journal) giveBack(w *work) {
	j.mu.Lock()
	waiting := j.pending.budget.empty()
	j.mu.Unlock()

	err := fmt.Errorf("%w: %w", queue.ErrUnavailable, errLost)
	var given []*queue.Entry
	refused := func(e *queue.Entry) bool {
		if e.Failed(err) {
			return false
		}
		given = append(given, e)
		return true
	}
	w.entries = slices.DeleteFunc(w.entries, refused)
	w.batch.Messages = w.batch.Messages[:0]
	for _, e := range w.entries {
		w.batch.Messages = append(w.batch.Messages, e.Freeze())
	}
	waiting = slices.DeleteFunc(waiting, func(e numbered) bool { return refused(e.Entry) })

	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending.budget.restore(waiting)
	j.pending.budget.settle(given)
}

// routed is the audit event of an accepted message: its sender, kind of target, number of
// recipients and size.
func routed(m *queue.Accepted) audit.Event {
	return audit.NewEvent(m.MeshID, m.CreatedAt, m.SenderMember.String(), audit.RoutedDetail{
		Message: m.ID, Target: targetKind(m.TargetSpec), Recipients: sentTo(m.Recipients),
		Bytes: len(m.Nonce) + len(m.Ciphertext), Priority: m.Priority,
	})
}

// sentTo counts the recipients that a message was sent to.
func sentTo(list []queue.Recipient) (n int) {
	for i := range list {
		if !list[i].Unopened() {
			n++
		}
	}
	return n
}

// targetKind returns the kind of a message's target, without naming the target.
func targetKind(spec string) audit.Target {
	switch {
	case strings.HasPrefix(spec, "["):
		return audit.Many
	case spec == "*" || spec == "@all":
		return audit.All
	case strings.HasPrefix(spec, "@"):
		return audit.Group
	case strings.HasPrefix(spec, "#"):
		return audit.Topic
	}
	return audit.Direct
}

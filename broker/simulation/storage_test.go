package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// weather is the present behavior of the storage.
type weather int

const (
	fair    weather = iota // a few milliseconds
	slow                   // up to three seconds
	failing                // errors, although some of the commits take place
	frozen                 // no answer until the weather changes
)

func (w weather) String() string { return [...]string{"fair", "slow", "failing", "frozen"}[w] }

// renews reports whether a broker can renew its lease.
func (w weather) renews() bool { return w == fair || w == slow }

// server is the database server: the disk, and the weather of all sessions.
type server struct {
	*disk
	luck func(parts ...any) uint64

	mu      sync.Mutex
	weather weather
	turned  chan struct{} // closed when the weather changes
	fairAt  time.Time     // when it last became fair
	calls   map[string]int

	renewed time.Time // when a lease was last renewed; out of date while the weather allows renewals
	// suspended is when a broker last learned that it is suspended.
	suspended time.Time
	broken    sabotage
	holder    *session // the session that claimed the database last; guarded by the disk's lock
}

func newServer(luck func(parts ...any) uint64) *server {
	return &server{disk: newDisk(), luck: luck, turned: make(chan struct{}), calls: make(map[string]int)}
}

func (s *server) turn(w weather) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w == fair && s.weather != fair {
		s.fairAt = time.Now()
	}
	if w.renews() || s.weather.renews() {
		s.renewed = time.Now()
	}
	s.weather = w
	close(s.turned)
	s.turned = make(chan struct{})
}

// fairFor returns how long the weather has been fair.
func (s *server) fairFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.weather != fair {
		return 0
	}
	return time.Since(s.fairAt)
}

// draw returns the weather and a random number for this call. The number for the n-th call of a
// kind does not depend on calls of other kinds.
func (s *server) draw(call string) (w weather, luck uint64, turned chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[call]++
	return s.weather, s.luck(call, s.calls[call]), s.turned
}

var (
	errAway = errors.New("the database is away")
	errDead = errors.New("this process is dead")
)

// session is one broker's connection to the server. It implements broker.Storage, except the
// methods for invites, which the simulation does not use.
type session struct {
	mesh.Store // nil
	server     *server
	died       chan struct{}
	landing    bool // what is under way when the broker dies is committed all the same
	commits    int  // guarded by the disk's lock
	lease      lease
	halt       halt
	seat       *seat // nil: not a node of a cluster
}

func (s *server) connect() *session { return &session{server: s, died: make(chan struct{})} }

// die ends the session, as the end of the process does.
func (s *session) die(landing bool) {
	s.landing = landing
	close(s.died)
}

func (s *session) dead() bool {
	select {
	case <-s.died:
		return true
	default:
		return false
	}
}

// pass waits as long as a call takes. It returns an error if the call fails before it has had an
// effect.
func (s *session) pass(ctx context.Context, call string) error {
	if err := s.await(ctx, call); err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	for {
		w, luck, turned := s.server.draw(call)
		cut, changed := s.lease.cut()
		if cut {
			w, turned = frozen, changed
		}
		var wait <-chan time.Time
		switch w {
		case slow:
			wait = time.After(time.Duration(luck%3000) * time.Millisecond)
		case fair, failing:
			wait = time.After(time.Duration(luck%5000) * time.Microsecond)
		}
		if w != frozen {
			turned = nil // what is under way finishes
		}
		select {
		case <-s.died:
			return errDead
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", call, ctx.Err())
		case <-turned:
		case <-wait:
			if w == failing {
				return errAway
			}
			return nil
		}
	}
}

// read executes a call that reads. Its answer may be out of date when it arrives.
func read[T any](ctx context.Context, s *session, call string, what func(d *disk) T) (answer T, err error) {
	if err := s.pass(ctx, call); err != nil {
		return answer, err
	}
	s.server.disk.mu.Lock()
	answer = what(s.server.disk)
	s.server.disk.mu.Unlock()
	if err := s.pass(ctx, call+" answer"); err != nil {
		var none T
		return none, err
	}
	return answer, nil
}

// Mesh implements mesh.Store.
func (s *session) Mesh(ctx context.Context, id wire.ID) (mesh.Mesh, []mesh.Member, error) {
	type answer struct {
		mesh    mesh.Mesh
		members []mesh.Member
		ok      bool
	}
	a, err := read(ctx, s, "mesh", func(d *disk) answer {
		m, ok := d.meshes[id]
		return answer{m, slices.Clone(d.members[id]), ok}
	})
	if err == nil && !a.ok {
		err = mesh.ErrMeshNotFound
	}
	return a.mesh, a.members, err
}

// Presences implements presence.Store.
func (s *session) Presences(ctx context.Context, id wire.ID) ([]presence.Record, error) {
	return read(ctx, s, "presences", func(d *disk) (list []presence.Record) {
		for key, r := range d.records {
			if key.mesh == id && r.EndedAt.IsZero() {
				list = append(list, r)
			}
		}
		return list
	})
}

// KnownSessions implements presence.Store.
func (s *session) KnownSessions(ctx context.Context, id wire.ID) ([]presence.Known, error) {
	return read(ctx, s, "known sessions", func(d *disk) (list []presence.Known) {
		for key, r := range d.records {
			if key.mesh == id && r.Proven {
				list = append(list, presence.Known{SessionKey: r.SessionKey, MemberID: r.MemberID, DisplayName: r.DisplayName})
			}
		}
		return list
	})
}

// LastPresence implements presence.Store.
func (s *session) LastPresence(ctx context.Context, id wire.ID, identity presence.Identity) (presence.Record, bool, error) {
	type answer struct {
		presence.Record
		ok bool
	}
	a, err := read(ctx, s, "last presence", func(d *disk) answer {
		r, ok := d.records[recordKey{id, identity}]
		return answer{r, ok}
	})
	return a.Record, a.ok, err
}

// PrunePresences implements presence.Store. It deletes nothing: no schedule lasts a month.
func (s *session) PrunePresences(ctx context.Context, _ time.Time, _ int) (int, error) {
	return 0, s.pass(ctx, "prune presences")
}

// Backlog implements queue.Store.
func (s *session) Backlog(ctx context.Context, box queue.Mailbox, after int64, urgentOnly bool, limit int) ([]queue.Waiting, error) {
	return read(ctx, s, "backlog", func(d *disk) []queue.Waiting { return d.backlogLocked(box, after, urgentOnly, limit) })
}

// Find implements queue.Store.
func (s *session) Find(ctx context.Context, id wire.ID, prefix string, limit int) ([]queue.Accepted, error) {
	return read(ctx, s, "find", func(d *disk) []queue.Accepted { return d.findLocked(id, prefix, limit) })
}

// Sent implements queue.Store.
func (s *session) Sent(ctx context.Context, id, member wire.ID, limit int) ([]queue.Sent, error) {
	return read(ctx, s, "sent", func(d *disk) []queue.Sent { return d.sentLocked(id, member, limit) })
}

// Burden implements queue.Store.
func (s *session) Burden(ctx context.Context, id wire.ID) (queue.Burden, error) {
	return read(ctx, s, "burden", func(d *disk) queue.Burden { return d.burdenLocked(id) })
}

// Depth implements broker.Storage.
func (s *session) Depth(ctx context.Context) (queue.Depth, error) {
	return read(ctx, s, "depth", func(d *disk) queue.Depth { return d.depthLocked() })
}

// Mark implements queue.Store.
func (s *session) Mark(ctx context.Context, id wire.ID) (queue.Mark, error) {
	return read(ctx, s, "mark", func(d *disk) queue.Mark { return d.marks[id] })
}

// Sweep implements queue.Store.
func (s *session) Sweep(ctx context.Context, expire, _, now time.Time, limit int) (int, error) {
	type answer struct {
		n   int
		err error
	}
	a, err := read(ctx, s, "sweep", func(d *disk) (a answer) {
		if a.err = s.fenceLocked(); a.err == nil {
			a.n = d.expireLocked(expire, now, limit, func(m wire.ID) bool { return s.seat == nil || d.registry.owners[m].node == s.seat.id })
		}
		return a
	})
	return a.n, errors.Join(err, a.err)
}

// AuditLogs implements audit.Store.
func (s *session) AuditLogs(ctx context.Context) ([]audit.Log, error) {
	if err := s.pass(ctx, "audit logs"); err != nil {
		return nil, err
	}
	return s.server.disk.AuditLogs(ctx)
}

// AuditHead implements audit.Store and journal.Store.
func (s *session) AuditHead(ctx context.Context, id wire.ID) (audit.Head, error) {
	return read(ctx, s, "audit head", func(d *disk) audit.Head { return d.headLocked(id) })
}

// AuditKey implements audit.Store.
func (s *session) AuditKey(ctx context.Context, fresh audit.Key) (audit.Key, error) {
	if err := s.pass(ctx, "audit key"); err != nil {
		return audit.Key{}, err
	}
	return s.server.disk.AuditKey(ctx, fresh)
}

// AuditRestores implements audit.Store.
func (s *session) AuditRestores(ctx context.Context, id wire.ID, limit int) ([]string, error) {
	return s.server.disk.AuditRestores(ctx, id, limit)
}

// AddAuditRestore implements audit.Store.
func (s *session) AddAuditRestore(ctx context.Context, id wire.ID, at time.Time, announcement string) error {
	return s.server.disk.AddAuditRestore(ctx, id, at, announcement)
}

// AuditPruned implements audit.Store.
func (s *session) AuditPruned(ctx context.Context, id wire.ID) (string, error) {
	return s.server.disk.AuditPruned(ctx, id)
}

// PruneAudit implements audit.Store.
func (s *session) PruneAudit(ctx context.Context, id wire.ID, upTo int64, checkpoint string, limit int) (int, error) {
	return s.server.disk.PruneAudit(ctx, id, upTo, checkpoint, limit)
}

// AuditEntries implements audit.Store.
func (s *session) AuditEntries(ctx context.Context, id wire.ID, after int64, limit int) ([]audit.Entry, error) {
	if err := s.pass(ctx, "audit entries"); err != nil {
		return nil, err
	}
	return s.server.disk.AuditEntries(ctx, id, after, limit)
}

// Hellos implements journal.Store.
func (s *session) Hellos(ctx context.Context, id wire.ID, since time.Time) ([]journal.Hello, error) {
	return read(ctx, s, "hellos", func(d *disk) (list []journal.Hello) {
		for sig, at := range d.hellos[id] {
			if !at.Before(since) {
				list = append(list, journal.Hello{Mesh: id, Signature: sig, At: at})
			}
		}
		return list
	})
}

// ForgetHellos implements journal.Store.
func (s *session) ForgetHellos(ctx context.Context, t time.Time) error {
	_, err := read(ctx, s, "forget hellos", func(d *disk) bool {
		for _, hellos := range d.hellos {
			for sig, at := range hellos {
				if at.Before(t) {
					delete(hellos, sig)
				}
			}
		}
		return true
	})
	return err
}

// Migrate and Ping implement broker.Storage.
func (s *session) Migrate(ctx context.Context) error { return s.pass(ctx, "migrate") }

func (s *session) Ping(ctx context.Context) error {
	if err := s.pass(ctx, "ping"); err != nil {
		return err
	}
	s.server.disk.mu.Lock()
	defer s.server.disk.mu.Unlock()
	return s.fenceLocked()
}

// Close implements broker.Storage. A node leaves the cluster if it can reach the database.
func (s *session) Close() error {
	if cut, _ := s.lease.cut(); s.seat != nil && !cut && !s.halt.is() && !s.dead() {
		s.server.disk.mu.Lock()
		defer s.server.disk.mu.Unlock()
		s.server.disk.registry.remove(s.seat.id)
	}
	return nil
}

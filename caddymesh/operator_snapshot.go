package caddymesh

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage/postgres"
)

// The page shows no more than this. The commands show everything.
const (
	maxShownMeshes   = 100
	maxShownSessions = 200
	maxShownHeads    = 100
)

// snapshot is what the operator's page shows, at one moment.
type snapshot struct {
	Taken    time.Time
	Brokers  []statusRow
	Total    statusRow // of all brokers; the oldest message is the oldest of all
	Pushed   int64
	Again    int64 // redeliveries
	Repeated int64
	Commits  int64
	Used     int64 // of the journal's budget, in bytes
	Budget   int64
	Refused  []countRow // by reason
	Failures []countRow // of storages, by operation and reason
	Files    []fileRow

	Meshes       []broker.MeshOverview
	MoreMeshes   int
	Sessions     []sessionRow
	MoreSessions int

	Stored storageFigures
}

// countRow is how often something happened.
type countRow struct {
	Words []string
	N     int64
}

// sessionRow is a presence, with its mesh.
type sessionRow struct {
	Mesh string
	broker.PresenceOverview
}

// fileRow is a storage that is a file on this machine.
type fileRow struct {
	Path       string
	Size, Free uint64
}

// takeSnapshot asks the brokers of this process. It reads only what is in their memory.
func takeSnapshot(ctx context.Context, all []named) *snapshot {
	s := &snapshot{Taken: time.Now()}
	refused, failures := map[string]int64{}, map[broker.StorageError]int64{}
	for _, l := range all {
		stats := l.broker.Stats()
		row := statusOf(ctx, l, stats)
		s.Brokers = append(s.Brokers, row)
		s.add(row, stats)
		for reason, n := range stats.Refused {
			refused[reason] += n
		}
		for failure, n := range stats.Storage {
			failures[failure] += n
		}
		s.addMeshes(ctx, l.broker)
		if file, ok := l.as.(*SQLite); ok {
			if free, err := freeBytes(file.Path); err == nil {
				s.Files = append(s.Files, fileRow{file.Path, file.size(), free})
			}
		}
	}
	s.Refused = counted(refused, func(reason string) []string { return []string{reason} })
	s.Failures = counted(failures, func(e broker.StorageError) []string { return []string{e.Operation, string(e.Reason)} })
	return s
}

func (s *snapshot) add(row statusRow, stats broker.Stats) {
	t := &s.Total
	t.Connections += row.Connections
	t.Meshes += row.Meshes
	t.Presences += row.Presences
	t.Leased += row.Leased
	t.Accepted += row.Accepted
	t.Delivered += row.Delivered
	t.Open += row.Open
	t.Waiting += row.Waiting
	t.Held += row.Held
	t.Failures += row.Failures
	t.Oldest = max(t.Oldest, row.Oldest)
	s.Pushed += stats.Queue.Pushed
	s.Again += stats.Queue.Redelivered
	s.Repeated += stats.Queue.Repeated
	s.Commits += stats.Journal.Commits
	s.Used += stats.Journal.Used
	s.Budget += stats.Journal.Budget
}

// addMeshes adds the meshes of a broker, and the sessions in them, as far as there is room.
func (s *snapshot) addMeshes(ctx context.Context, b *broker.Broker) {
	for _, m := range b.Meshes() {
		if len(s.Meshes) == maxShownMeshes {
			s.MoreMeshes++
			s.MoreSessions += m.Presences
			continue
		}
		s.Meshes = append(s.Meshes, m)
		room := maxShownSessions - len(s.Sessions)
		if room == 0 {
			s.MoreSessions += m.Presences
			continue
		}
		list, err := b.Presences(ctx, m.ID)
		if err != nil {
			continue // the mesh has left memory since
		}
		for _, p := range list[:min(room, len(list))] {
			s.Sessions = append(s.Sessions, sessionRow{m.Slug, p})
		}
		s.MoreSessions += max(0, len(list)-room)
	}
}

// counted lists the counts that are not zero, the highest first.
func counted[K comparable](counts map[K]int64, words func(K) []string) []countRow {
	list := []countRow{}
	for k, n := range counts {
		if n > 0 {
			list = append(list, countRow{words(k), n})
		}
	}
	slices.SortFunc(list, func(a, b countRow) int {
		return cmp.Or(cmp.Compare(b.N, a.N), slices.Compare(a.Words, b.Words))
	})
	return list
}

// storageFigures are what only the storage knows.
type storageFigures struct {
	Nodes      []cluster.Node
	Candidates []postgres.Candidate
	Shared     bool // a storage has nodes
	Queues     []queueRow
	Heads      []auditRow

	MoreHeads int
	Error     string // why figures are missing
}

// Limits of the load that the page puts on the storage.
const (
	storedEvery   = 10 * time.Second
	storedPause   = 50 // the pause after a look, as a multiple of the time that it took
	storedTimeout = 2 * time.Second
)

// takeStored asks the storages.
func takeStored(ctx context.Context, all []named) (f storageFigures) {
	ctx, cancel := context.WithTimeout(ctx, storedTimeout)
	defer cancel()
	if err := f.ask(ctx, all); err != nil {
		f.Error = err.Error()
	}
	return f
}

func (f *storageFigures) ask(ctx context.Context, all []named) error {
	for _, l := range all {
		if shared, ok := l.store.(*postgres.Store); ok {
			f.Shared = true
			nodes, err := shared.Nodes(ctx)
			if err != nil {
				return err
			}
			candidates, err := shared.Candidates(ctx)
			if err != nil {
				return err
			}
			f.Nodes, f.Candidates = append(f.Nodes, nodes...), append(f.Candidates, candidates...)
		}
		for _, m := range l.broker.Meshes() {
			if len(f.Queues) == maxShownMeshes {
				break
			}
			burden, err := l.broker.Burden(ctx, m.ID)
			if err != nil {
				return err
			}
			f.Queues = append(f.Queues, queueOf(m, burden))
		}
	}
	heads, err := auditHeads(ctx, all)
	f.Heads = heads[:min(len(heads), maxShownHeads)]
	f.MoreHeads = len(heads) - len(f.Heads)
	return err
}

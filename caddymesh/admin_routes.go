package caddymesh

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/wire"
)

// adminRoute is a question of the operator's, or an order. The answer is JSON, a list of
// objects.
type adminRoute struct {
	name, method string
	answer       func(r *http.Request) (any, error)
}

var adminRoutes = []adminRoute{
	{"status", http.MethodGet, adminStatus},
	{"meshes", http.MethodGet, adminMeshes},
	{"mesh", http.MethodGet, adminMesh},
	{"sessions", http.MethodGet, adminSessions},
	{"members", http.MethodGet, adminMembers},
	{"queue", http.MethodGet, adminQueue},
	{"audit", http.MethodGet, adminAudit},
	{"kick", http.MethodPost, adminKick},
	{"remove", http.MethodPost, adminRemove},
}

// ServeHTTP implements caddy.AdminHandler.
func (route adminRoute) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	if r.Method != route.method {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	answer, err := route.answer(r)
	var api caddy.APIError
	var refused *broker.RefusedError
	switch {
	case errors.As(err, &api):
		return err
	case errors.As(err, &refused):
		return caddy.APIError{HTTPStatus: refusalStatus(refused.Code), Err: err}
	case errors.Is(err, broker.ErrNoMesh):
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	case err != nil:
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

// statusRow is a row of GET /claudemesh/status.
type statusRow struct {
	brokerHealth
	Version     string  `json:"version"`
	Uptime      float64 `json:"uptime_seconds"`
	Connections int     `json:"connections"`
	Meshes      int     `json:"meshes"` // in memory
	Presences   int     `json:"presences"`
	Leased      int     `json:"presences_leased"`
	Accepted    int64   `json:"messages_accepted"`
	Delivered   int64   `json:"deliveries"`
	Open        int     `json:"messages_open"`
	Waiting     int64   `json:"queue_deliveries"`
	Oldest      float64 `json:"queue_oldest_seconds"`
	Held        int     `json:"messages_held"`
	Failures    int64   `json:"commit_errors"`
}

func adminStatus(r *http.Request) (any, error) {
	rows := []statusRow{}
	all, absent := survey()
	for _, a := range absent {
		rows = append(rows, statusRow{brokerHealth: a})
	}
	for _, l := range all {
		rows = append(rows, statusOf(r.Context(), l, l.broker.Stats()))
	}
	return rows, nil
}

func statusOf(ctx context.Context, l named, s broker.Stats) statusRow {
	health := l.broker.Health(ctx)
	return statusRow{
		brokerHealth: healthOf(ctx, l), Version: health.Version, Uptime: health.Uptime, Connections: s.Connections, Meshes: s.Meshes,
		Presences: s.Presences, Leased: s.Leased, Accepted: s.Queue.Accepted, Delivered: s.Queue.Acknowledged, Open: s.Queue.Open,
		Waiting: s.Depth.Deliveries, Oldest: secondsSince(s.Depth.Oldest), Held: s.Parked, Failures: s.Journal.Failures,
	}
}

// ownedRow is a row of GET /claudemesh/meshes.
type ownedRow struct {
	broker.MeshOverview
	Owner string `json:"owner,omitempty"` // the address of the node that serves it, in a cluster
}

// awayRow is the same for a mesh that is not in the memory of this process: another node of the
// cluster serves it, or nobody has connected to it lately.
type awayRow struct {
	ID    wire.ID `json:"id"`
	Slug  string  `json:"slug"`
	Name  string  `json:"name,omitempty"`
	Owner string  `json:"owner,omitempty"` // or noOwner; empty without a cluster, and while the owners can't be read
}

// noOwner stands for the owner of a mesh that no node of a cluster serves until somebody connects.
const noOwner = "none"

func adminMeshes(r *http.Request) (any, error) {
	all, err := brokers()
	if err != nil {
		return nil, err
	}
	rows := []any{}
	for _, l := range all {
		rows = append(rows, l.meshes(r.Context())...)
	}
	return rows, nil
}

// meshes returns a row for each mesh that exists. While the storage is away, it returns those in
// memory.
func (l *named) meshes(ctx context.Context) (rows []any) {
	ctx, cancel := context.WithTimeout(ctx, storedTimeout)
	defer cancel()
	listed := make(map[wire.ID]bool)
	here, self, unowned := l.broker.Meshes(), "", ""
	var owned []postgres.Holding
	var addresses map[int64]string
	if store, ok := l.store.(*postgres.Store); ok {
		if id, isNode := store.Self(); isNode {
			var err error
			owned, addresses, err = ownersIn(ctx, store)
			self = addresses[id]
			if err == nil {
				unowned = noOwner
			}
		}
	}
	for _, m := range here {
		rows = append(rows, ownedRow{m, self})
		listed[m.ID] = true
	}
	for _, h := range owned {
		if !listed[h.Mesh] {
			rows = append(rows, awayRow{h.Mesh, h.Slug, h.Name, addresses[h.Node]})
			listed[h.Mesh] = true
		}
	}
	logs, err := l.broker.AuditLogs(ctx) // each mesh has one
	if err != nil {
		return rows
	}
	for _, log := range logs {
		if log.Slug != "" && !listed[log.Mesh] {
			rows = append(rows, awayRow{ID: log.Mesh, Slug: log.Slug, Owner: unowned})
		}
	}
	return rows
}

// ownersIn returns the meshes that nodes of the cluster own, and the addresses of all nodes.
func ownersIn(ctx context.Context, store *postgres.Store) (list []postgres.Holding, addresses map[int64]string, err error) {
	nodes, err := store.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	list, err = store.Holdings(ctx)
	return list, addressesOf(nodes), err
}

// meshRow is the row of GET /claudemesh/mesh.
type meshRow struct {
	broker.MeshOverview
	Messages   int64   `json:"queue_messages"`
	Deliveries int64   `json:"queue_deliveries"`
	Bytes      int64   `json:"queue_bytes"`          // with an allowance for rows and indexes
	Oldest     float64 `json:"queue_oldest_seconds"` // 0: nothing waits
	Entries    int64   `json:"audit_entries"`
	Hash       string  `json:"audit_hash"` // of the newest entry
}

func adminMesh(r *http.Request) (any, error) {
	return ofMesh(r, func(b *broker.Broker, ctx context.Context, id wire.ID) ([]meshRow, error) {
		overview, err := b.Mesh(ctx, id)
		if err != nil {
			return nil, err
		}
		burden, err := b.Burden(ctx, id)
		if err != nil {
			return nil, err
		}
		head, err := b.AuditHead(ctx, id)
		waits := queueOf(overview, burden)
		return []meshRow{{
			overview, waits.Messages, waits.Deliveries, waits.Bytes, waits.Oldest, head.Seq, hex.EncodeToString(head.Hash[:]),
		}}, err
	})
}

func adminSessions(r *http.Request) (any, error) {
	return ofMesh(r, (*broker.Broker).Presences)
}

func adminMembers(r *http.Request) (any, error) {
	return ofMesh(r, (*broker.Broker).Members)
}

// queueRow is a row of GET /claudemesh/queue.
type queueRow struct {
	Mesh       wire.ID `json:"mesh"`
	Slug       string  `json:"slug"`
	Messages   int64   `json:"messages"`
	Deliveries int64   `json:"deliveries"`
	Bytes      int64   `json:"bytes"`          // with an allowance for rows and indexes
	Oldest     float64 `json:"oldest_seconds"` // 0: nothing waits
}

func adminQueue(r *http.Request) (any, error) {
	return ofMesh(r, func(b *broker.Broker, ctx context.Context, id wire.ID) ([]queueRow, error) {
		overview, err := b.Mesh(ctx, id)
		if err != nil {
			return nil, err
		}
		burden, err := b.Burden(ctx, id)
		return []queueRow{queueOf(overview, burden)}, err
	})
}

func queueOf(m broker.MeshOverview, burden queue.Burden) queueRow {
	return queueRow{m.ID, m.Slug, burden.Messages, burden.Deliveries, burden.Size(), secondsSince(burden.Oldest)}
}

// auditRow is a row of GET /claudemesh/audit.
type auditRow struct {
	Mesh wire.ID `json:"mesh"`
	Slug string  `json:"slug"` // empty if the mesh itself is gone
	Seq  int64   `json:"seq"`
	Hash string  `json:"hash"`
}

func adminAudit(r *http.Request) (any, error) {
	all, err := brokers()
	if err != nil {
		return nil, err
	}
	return auditHeads(r.Context(), all)
}

func auditHeads(ctx context.Context, of []named) ([]auditRow, error) {
	rows := []auditRow{}
	for _, l := range of {
		logs, err := l.broker.AuditLogs(ctx)
		if err != nil {
			return nil, trouble(l.as, err)
		}
		for _, log := range logs {
			rows = append(rows, auditRow{log.Mesh, log.Slug, log.Head.Seq, hex.EncodeToString(log.Head.Hash[:])})
		}
	}
	slices.SortFunc(rows, func(a, b auditRow) int {
		return cmp.Or(cmp.Compare(a.Slug, b.Slug), slices.Compare(a.Mesh[:], b.Mesh[:]))
	})
	return rows, nil
}

var errNoTarget = caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New("target is missing: a name, a key or the start of one")}

// kickRow is a row of POST /claudemesh/kick.
type kickRow struct {
	Name string `json:"name"`
}

func adminKick(r *http.Request) (any, error) {
	target, reason := r.FormValue("target"), r.FormValue("reason")
	if target == "" {
		return nil, errNoTarget
	}
	return ofMesh(r, func(b *broker.Broker, ctx context.Context, id wire.ID) ([]kickRow, error) {
		names, err := b.Kick(ctx, id, target, reason)
		rows := []kickRow{}
		for _, name := range names {
			rows = append(rows, kickRow{name})
		}
		return rows, err
	})
}

// adminRemove removes a member. Without confirmed=yes, it only says whom it would remove.
func adminRemove(r *http.Request) (any, error) {
	target, confirmed := r.FormValue("target"), r.FormValue("confirmed") == "yes"
	if target == "" {
		return nil, errNoTarget
	}
	return ofMesh(r, func(b *broker.Broker, ctx context.Context, id wire.ID) ([]broker.MemberOverview, error) {
		member, err := b.Member(ctx, id, target)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", target, err)
		}
		if confirmed {
			member, err = b.Remove(ctx, id, member.Key)
		}
		return []broker.MemberOverview{member}, err
	})
}

// ofMesh asks the broker that has the mesh of a request, which names its id or its slug.
func ofMesh[T any](r *http.Request, ask func(*broker.Broker, context.Context, wire.ID) ([]T, error)) ([]T, error) {
	name := r.FormValue("mesh")
	found, err := meshesCalled(r.Context(), name)
	if err != nil {
		return nil, err
	}
	for _, m := range found {
		rows, err := ask(m.broker, r.Context(), m.id)
		if !errors.Is(err, broker.ErrNoMesh) {
			return rows, trouble(m.as, m.elsewhere(r.Context(), err))
		}
	}
	if _, absent := survey(); len(absent) > 0 { // one of them may have it
		return nil, awayError(absent)
	}
	return nil, fmt.Errorf("mesh %q: %w", name, broker.ErrNoMesh)
}

// elsewhere says where to ask if the error is that another node of the cluster serves a mesh.
func (l *named) elsewhere(ctx context.Context, err error) error {
	var moved *cluster.MovedError
	store, shared := l.store.(*postgres.Store)
	if !shared || !errors.As(err, &moved) {
		return err
	}
	nodes, nodesErr := store.Nodes(ctx)
	address := addressesOf(nodes)[moved.Node]
	if nodesErr != nil || address == "" {
		return err
	}
	return caddy.APIError{HTTPStatus: http.StatusMisdirectedRequest, Err: fmt.Errorf("the node %s serves mesh %s: ask that node, on its machine", address, moved.Mesh)}
}

// possible is a mesh that a name means, if the broker has it.
type possible struct {
	named
	id wire.ID
}

// meshesCalled lists what the id or slug of a mesh means. It returns an error if a slug means
// several meshes.
func meshesCalled(ctx context.Context, name string) ([]possible, error) {
	id, noID := wire.ParseID(name)
	var found []possible
	all, absent := survey()
	away := awayError(absent)
	for _, l := range all {
		if noID == nil {
			found = append(found, possible{l, id})
			continue
		}
		ids, err := l.withSlug(ctx, name)
		away = errors.Join(away, err)
		for id := range ids {
			found = append(found, possible{l, id})
		}
	}
	switch {
	case noID != nil && len(found) > 1:
		var ids []string
		for _, m := range found {
			ids = append(ids, m.id.String())
		}
		slices.Sort(ids)
		return nil, caddy.APIError{HTTPStatus: http.StatusConflict, Err: fmt.Errorf("several meshes are called %q; give the id of one: %s", name, strings.Join(ids, ", "))}
	case len(found) == 0:
		return nil, away
	}
	return found, nil
}

// withSlug returns the meshes that have a slug. If there is an error, meshes where nobody is are missing.
func (l *named) withSlug(ctx context.Context, slug string) (map[wire.ID]bool, error) {
	ids := make(map[wire.ID]bool)
	for _, m := range l.broker.Meshes() {
		if m.Slug == slug {
			ids[m.ID] = true
		}
	}
	logs, err := l.broker.AuditLogs(ctx)
	for _, log := range logs {
		if log.Slug == slug {
			ids[log.Mesh] = true
		}
	}
	return ids, trouble(l.as, err)
}

// Interface guards
var _ caddy.AdminHandler = adminRoute{}

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// perSession is the number of messages that wait for each absent session.
const perSession = 100

// returning is the number of sessions that return, one after the other.
const returning = 20

// fillBatch is the size of the commits that fill the queue.
const fillBatch = 4096

// absent holds the keys of the absent sessions; only the returning ones need key pairs.
type absent struct {
	back []identity.KeyPair
	keys []wire.Key // the keys of all sessions; the returning ones come first
}

// queued fills the queue directly in the storage, while no broker runs, and lets sessions return.
// It does so twice, the first time only with the messages of the returning sessions, so that the
// two brokers differ only in the length of the queue.
func (l *lab) queued(s *stage) {
	sessions := short(l, 10_000, 500)
	l.typed("queue", "make benchmarks BENCHFLAGS='-only queue'")
	for _, db := range databases {
		l.trouble("queue", perform(s.ctx, func(s *stage) {
			site := l.broker(s, db)
			site.Stop()
			who := newAbsent(s, sessions)
			rows := newRows(s)
			rows.of(s, &site.mesh)
			for _, part := range []struct {
				name     string
				from, to int
			}{{"short", 0, returning}, {"long", returning, sessions}} {
				site.fill(s, rows, who.keys[part.from:part.to])
				site.Start()
				for _, key := range who.back {
					first := site.comeBack(s, key)
					l.add(series("queue/first", part.name, db), millis(first))
				}
				l.add(series("queue/memory", part.name, db), float64(site.gauge(s).Resident)/(1<<20))
				site.Stop()
			}
			l.add(series("queue/growth", db), l.last(series("queue/memory/long", db))-l.last(series("queue/memory/short", db)))
		}))
	}
}

// last returns the newest value of a series.
func (r *results) last(name string) float64 {
	values := r.Series[name]
	if len(values) == 0 {
		return 0
	}
	return values[len(values)-1]
}

func newAbsent(s *stage, n int) absent {
	a := absent{keys: make([]wire.Key, n)}
	for i := range a.keys {
		if i >= returning {
			rand.Read(a.keys[i][:]) // never fails (crypto/rand)
			continue
		}
		pair, err := identity.Generate()
		s.check("make a key", err)
		a.back, a.keys[i] = append(a.back, pair), pair.Public()
	}
	return a
}

// of makes the rows belong to a mesh's owner.
func (r *rows) of(s *stage, m *peer.Mesh) {
	var err error
	r.mesh, err = wire.ParseID(m.MeshID)
	s.check("read the mesh's id", err)
	r.member, err = wire.ParseID(m.MemberID)
	s.check("read the member's id", err)
	r.key = m.Member
}

// fill stores messages for absent sessions that were present before.
func (x *site) fill(s *stage, r *rows, keys []wire.Key) {
	var store broker.Storage
	var err error
	if x.dsn != "" {
		store, err = postgres.Open(x.dsn)
	} else {
		store, err = sqlite.Open(filepath.Join(x.Home, "data", "caddy", "claudemesh", "claudemesh.db"))
	}
	s.check("open the storage", err)
	defer func() { s.check("close the storage", store.Close()) }()
	s.check("claim", store.Claim(s.ctx))
	r.head, err = store.AuditHead(s.ctx, r.mesh)
	s.check("read the audit head", err)
	var batch journal.Batch
	commit := func() {
		_, err := store.Commit(s.ctx, &batch)
		s.check("commit", err)
		batch = journal.Batch{}
	}
	for _, key := range keys {
		batch.Presences = append(batch.Presences, r.gone(key))
	}
	commit()
	from := r.key.Public()
	for range perSession {
		for _, key := range keys {
			m := r.message(from, key)
			batch.Messages, batch.Audit = append(batch.Messages, m), append(batch.Audit, r.audit(m))
			if len(batch.Messages) == fillBatch {
				commit()
			}
		}
	}
	commit()
}

// gone returns the record of a session that has left.
func (r *rows) gone(key wire.Key) presence.Record {
	now := time.Now().Truncate(time.Millisecond)
	id := r.ids.New(now)
	return presence.Record{
		MeshID: r.mesh, Identity: presence.SessionIdentity(key), ID: id, MemberID: r.member, MemberKey: r.key.Public(),
		SessionKey: key, Proven: true, Role: wire.RoleSession, SessionID: id.String(), Cwd: "/", DisplayName: "bench-00000000-1",
		Status: wire.Idle, Source: presence.JSONL, StatusAt: now, Visible: true, ConnectedAt: now, LastSeenAt: now, EndedAt: now,
	}
}

// comeBack connects as a session and returns the time until the first message arrives: the
// WebSocket, the handshake, and the push. It also waits for the other messages and acknowledges
// none.
func (x *site) comeBack(s *stage, key identity.KeyPair) (first time.Duration) {
	ctx, cancel := context.WithTimeout(s.ctx, await.Patience)
	defer cancel()
	hello, err := sessionHello(&x.mesh, key)
	s.check("make a hello", err)
	start := time.Now()
	//nolint:bodyclose // the response's body belongs to the library, which says not to close it
	ws, _, err := websocket.Dial(ctx, x.WSURL(), nil)
	s.check("connect", err)
	defer ws.Close(websocket.StatusNormalClosure, "")
	s.check("say hello", ws.Write(ctx, websocket.MessageText, hello))
	for n := 0; n < perSession; {
		_, frame, err := ws.Read(ctx)
		s.check("read what was waiting", err)
		text := string(frame)
		switch {
		case strings.HasPrefix(text, `{"type":"error"`):
			s.Fatalf("come back: %s", text)
		case strings.HasPrefix(text, `{"type":"push"`) && !strings.Contains(text, `"subtype":"system"`):
			if n++; n == 1 {
				first = time.Since(start)
			}
		}
	}
	return first
}

// sessionHello returns the first frame of a session of the mesh's member; see SPEC.md.
func sessionHello(m *peer.Mesh, key identity.KeyPair) ([]byte, error) {
	now := time.Now()
	word := identity.Attest(m.Member, key.Public(), now.Add(identity.DefaultAttestationTTL))
	timestamp, signature := identity.SignSessionHello(key, m.MeshID, m.Member.Public(), now)
	b, err := json.Marshal(map[string]any{
		"type": wire.TypeSessionHello, "meshId": m.MeshID, "parentMemberId": m.MemberID, "parentMemberPubkey": m.Member.Public(),
		"sessionPubkey": key.Public(), "parentAttestation": wire.Attestation{
			SessionPubkey: key.Public().String(), ParentMemberPubkey: m.Member.Public().String(),
			ExpiresAt: word.ExpiresAt, Signature: word.Signature.String(),
		},
		"sessionId": "bench-" + key.Public().Short(), "pid": 1, "cwd": "/", "displayName": "bench", "peerType": "connector",
		"timestamp": timestamp, "signature": signature,
	})
	if err != nil {
		return nil, fmt.Errorf("encode session_hello: %w", err)
	}
	return b, nil
}

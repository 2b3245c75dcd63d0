package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/bench"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// idleMeshes is the number of meshes for idle sessions in many meshes.
const idleMeshes = 200

// idle measures the memory per idle session: the growth of a fresh broker, from before the first
// connection to a minute after the last, in one mesh and in many.
func (l *lab) idle(s *stage) {
	n, hold := short(l, 2000, 400), short(l, time.Minute, 5*time.Second)
	args := []string{"idle", "--sessions", strconv.Itoa(n), "--duration", hold.String()}
	l.typed("idle", shown(args...))
	for _, of := range []string{relayed, postgresDB, sqliteDB} {
		l.trouble("idle", perform(s.ctx, func(s *stage) {
			r := l.target(s, of).bench(s, args...)
			if fresh, known := r.Value("broker_fresh"); known && fresh != 1 {
				s.Error("the broker has served connections before")
			}
			l.figure(r, "broker_memory_per_session", series("idle/resident", of))
			l.figure(r, "broker_in_use_per_session", series("idle/in use", of))
			l.figure(r, "connects_per_second", series("idle/connects", of))
		}))
	}
	for _, db := range databases {
		l.trouble("idle", perform(s.ctx, func(s *stage) {
			site := l.broker(s, db)
			meshes := []peer.Mesh{site.mesh}
			for len(meshes) < short(l, idleMeshes, idleMeshes/10) {
				meshes = append(meshes, site.createMesh(s, len(meshes)))
			}
			before := site.gauge(s)
			l.hold(s, site, meshes, n)
			rest := time.NewTimer(hold)
			defer rest.Stop()
			select {
			case <-rest.C:
			case <-s.ctx.Done():
				s.Fatal(s.ctx.Err())
			}
			after := site.gauge(s)
			l.add(series("idle/spread", db), float64(after.Resident-before.Resident)/float64(n)/1024)
		}))
	}
}

// layout is a distribution of sessions over meshes.
type layout struct {
	name    string
	perMesh int // 0 for all in one mesh
}

var layouts = []layout{{"one mesh", 0}, {"many meshes", 10}}

// sizes returns the numbers of sessions at which growth measures.
func (l *lab) sizes() []int { return short(l, []int{100, 1000, 10_000}, []int{100, 300, 1000}) }

// growth measures the latency of a few peers among a growing number of idle ones, and the memory
// per idle session. This program holds the idle sessions itself, with the library of
// `claudemesh bench`, because that command uses only one mesh.
func (l *lab) growth(s *stage) {
	rate := []string{"rate", "--pairs", "10", "--rate", "200", "--duration", short(l, 6*time.Second, 2*time.Second).String()}
	l.typed("growth", shown("idle", "--sessions", "N", "--duration", "1m")+" & "+shown(rate...))
	for _, layout := range layouts {
		for _, n := range l.sizes() {
			l.trouble("growth", perform(s.ctx, func(s *stage) { l.grown(s, layout, n, rate) }))
		}
		sizes := l.sizes()
		for _, what := range []string{"p50", "p99", "memory"} {
			first, last := l.Series[growthSeries(what, layout, sizes[0])], l.Series[growthSeries(what, layout, sizes[len(sizes)-1])]
			if len(first) > 0 && len(first) == len(last) && first[len(first)-1] > 0 {
				l.add(series("growth/ratio", what, layout.name), last[len(last)-1]/first[len(first)-1])
			}
		}
	}
}

func growthSeries(what string, l layout, n int) string { return series("growth", what, l.name, n) }

// grown measures one size.
func (l *lab) grown(s *stage, layout layout, n int, rate []string) {
	site := l.broker(s, postgresDB)
	meshes := []peer.Mesh{site.mesh}
	if layout.perMesh == 0 {
		meshes = site.team(s, n)
	} else {
		for len(meshes) < n/layout.perMesh {
			meshes = append(meshes, site.createMesh(s, len(meshes)))
		}
	}
	site.collect(s)
	before := site.gauge(s)
	start := time.Now()
	l.hold(s, site, meshes, n)
	l.add(growthSeries("connects", layout, n), float64(n)/time.Since(start).Seconds())
	site.settle(s)
	site.collect(s)
	after := site.gauge(s)
	l.add(growthSeries("memory", layout, n), float64(after.InUse-before.InUse)/float64(n)/1024)
	l.add(growthSeries("resident", layout, n), float64(after.Resident-before.Resident)/float64(n)/1024)
	r := site.bench(s, rate...)
	l.accounts(r, "growth")
	if t, ok := timesOf(r, "send_push"); ok {
		l.add(growthSeries("p50", layout, n), t.P50)
		l.add(growthSeries("p99", layout, n), t.P99)
	}
}

// createMesh creates another mesh with another owner.
func (x *site) createMesh(s *stage, i int) peer.Mesh {
	key, err := identity.Generate()
	s.check("make a key", err)
	slug := fmt.Sprintf("bench%d", i)
	made, err := peer.HTTP{BrokerURL: x.WSURL()}.CreateMesh(s.ctx, key, slug, slug, "bench", "", time.Now())
	s.check("create a mesh", err)
	return peer.Mesh{
		MeshID: made.MeshID.String(), MemberID: made.MemberID.String(), Slug: slug, Name: slug,
		Member: key, BrokerURL: x.WSURL(), JoinedAt: time.Now(), Key: envelope.NewMeshKey(),
	}
}

// perMember is the maximum number of sessions per member: the broker accepts at most 4,096
// hellos from one member within two minutes.
const perMember = 2500

// team returns the credentials of enough members for n sessions, the owner first.
func (x *site) team(s *stage, n int) []peer.Mesh {
	team := []peer.Mesh{x.mesh}
	guests := (n - 1) / perMember
	if guests == 0 {
		return team
	}
	link := x.invite(s, guests)
	for len(team) <= guests {
		team = append(team, x.join(s, harness.ShortTempDir(s), link, fmt.Sprint("bench", len(team))))
	}
	return team
}

// invite creates an invite link with the given number of uses.
func (x *site) invite(s *stage, uses int) peer.Link {
	about := peer.About{SessionID: "bench-host", Channel: "claudemesh-bench", Capabilities: []string{wire.CapTransient}}
	owner, err := peer.Dial(s.ctx, peer.Options{Mesh: x.mesh, About: about, OneShot: true})
	s.check("connect the owner", err)
	defer owner.Close()
	terms := peer.InviteTerms{Role: "member", Uses: int64(uses), ExpiresAt: time.Now().Add(time.Hour)}
	link, invite, err := peer.NewLinkInvite(&x.mesh, x.mesh.Member.Public(), terms)
	s.check("make an invite", err)
	_, err = owner.InviteCreate(s.ctx, invite)
	s.check("register an invite", err)
	return link
}

// join adds a new member with the given home to the mesh.
func (x *site) join(s *stage, home string, link peer.Link, name string) peer.Mesh {
	joined, err := peer.Join(s.ctx, configDir(home), link, name, nil)
	s.check("join the mesh", err)
	return joined.Mesh
}

const (
	// holdAtOnce limits the number of sessions that connect at the same time.
	holdAtOnce = 128
	// holdPatience limits the time for connecting all sessions.
	holdPatience = 4 * time.Minute
)

// hold keeps n more sessions connected, evenly in the meshes, until the stage ends.
func (l *lab) hold(s *stage, site *site, meshes []peer.Mesh, n int) {
	ctx, end := context.WithCancel(s.ctx)
	var all sync.WaitGroup
	failed := make(chan error, len(meshes))
	s.Cleanup(func() {
		end()
		site.Kill() // so that it doesn't tell every session that the others leave
		all.Wait()
	})
	come, err := metrics(ctx, site.admin, "caddy_claudemesh_connections")
	s.check("read the metrics", err)
	due := int(come[0])
	first := due
	arrived := func() bool {
		select {
		case err := <-failed:
			s.Fatalf("hold sessions: %v", err)
		default:
		}
		// The broker may be too busy to answer in time.
		v, err := metrics(ctx, site.admin, "caddy_claudemesh_connections")
		return err == nil && int(v[0])+holdAtOnce >= due
	}
	for i := range meshes {
		share := share(n, len(meshes), i)
		settings := bench.Settings{Sessions: share, Parallel: min(64, share), Duration: bench.Duration(time.Hour)}
		all.Go(func() {
			// Run returns when ctx ends. This isn't an error.
			if _, err := bench.Run(ctx, bench.Idle, bench.Config{Mesh: meshes[i]}, settings); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
		if due += share; (due-first)%holdAtOnce < share {
			until(s, "the sessions are connected", holdPatience, arrived)
		}
	}
	due += holdAtOnce // now wait for all of them
	until(s, fmt.Sprintf("%d sessions in %d meshes are connected", n, len(meshes)), holdPatience, arrived)
}

// share returns how many of n sessions belong to the i-th of some groups, evenly.
func share(n, groups, i int) int { return n/groups + min(1, max(0, n%groups-i)) }

// settle waits until the broker is idle: until it has used almost no processor time for a
// second.
func (x *site) settle(s *stage) {
	const calm = 100 * time.Millisecond // of processor time in a second
	at, used := time.Now(), x.cpu(s)
	until(s, "the broker is idle", time.Minute, func() bool {
		if time.Since(at) < time.Second {
			return false
		}
		now := x.cpu(s)
		quiet := now-used < calm
		at, used = time.Now(), now
		return quiet
	})
}

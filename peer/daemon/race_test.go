package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
)

// TestRegistrationsRace lets launches, hooks and two terminals race for one session. The result is
// one presence, and every message sent in the meantime arrives once.
func TestRegistrationsRace(t *testing.T) {
	t.Parallel()
	const rounds, racers = 200, 8
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from := alice.session().connected()
	terminals := []*program{bob.program(""), bob.program("")}
	for round := range rounds {
		id := uuid.NewString()
		var race sync.WaitGroup
		for i := range racers {
			p := terminals[i%len(terminals)]
			r := local.Register{PID: p.pid(), SessionID: id, Source: local.SourceResume, Cwd: "/w", Name: "bob"}
			race.Go(func() {
				if err := bob.owner(local.VerbRegister, r, nil); err != nil {
					t.Errorf("register: %v", err)
				}
			})
		}
		race.Wait()
		one := &program{t: t, u: bob, cmd: terminals[0].cmd, id: id}
		s := bob.status().Sessions
		if len(s) != 1 || s[0].SessionID != id || len(s[0].PIDs) != len(terminals) || len(s[0].Meshes) != 1 {
			t.Fatalf("round %d: %+v", round, s)
		}
		one.connected()
		from.send(s[0].Meshes[0].Key.String(), fmt.Sprint(round))
		alice.must(local.VerbActivity, local.Activity{PID: from.pid(), SessionID: from.id, Human: true}, nil)
		if got := one.texts(1); !slices.Equal(got, []string{fmt.Sprint(round)}) {
			t.Fatalf("round %d: got %q", round, got)
		}
		if round%20 == 0 {
			await.Until(t, "one presence is left", func() bool { return slices.Equal(without(alice.inRoster(), from.id), []string{id}) })
		}
	}
}

// TestTwoDaemonsRaceForOneSession lets two daemons with different directories and the same session
// keys race for one session. At any time, one of them has it, and no message is lost.
func TestTwoDaemonsRaceForOneSession(t *testing.T) {
	_, alice, bob := pair(t)
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", peer.SessionsRoot(bob.dir))
	twin := newUser(t, "bob")
	config, err := os.ReadFile(bob.dir.Path("config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := twin.dir.WriteFile("config.json", config); err != nil {
		t.Fatal(err)
	}
	alice.up()
	bob.up()
	twin.up()
	from := alice.session().connected()
	id := uuid.NewString()
	terminals := []*program{bob.program(id), twin.program(id)}
	var race sync.WaitGroup
	for _, p := range terminals {
		race.Go(func() { p.register() })
	}
	race.Wait()
	if terminals[0].key() != terminals[1].key() {
		t.Fatal("two keys for one session")
	}
	await.Until(t, "one presence is in the roster", func() bool { return slices.Equal(without(alice.inRoster(), from.id), []string{id}) })
	const rounds = 20
	got := make(map[string]int)
	for round := range rounds {
		p := terminals[round%2]
		from.send(p.key().String(), fmt.Sprint(round))
		p.u.must(local.VerbActivity, local.Activity{PID: p.pid(), SessionID: id}, nil)
		alice.must(local.VerbActivity, local.Activity{PID: from.pid(), SessionID: from.id, Human: true}, nil)
		p.connected()
		await.Until(t, "one presence is left", func() bool { return slices.Equal(without(alice.inRoster(), from.id), []string{id}) })
	}
	await.Until(t, "all messages have come", func() bool {
		for _, p := range terminals {
			var checked local.Checked
			p.must(local.VerbCheck, local.Check{}, &checked)
			for _, m := range checked.Messages {
				got[m.Text]++
			}
		}
		return len(got) == rounds
	})
}

// TestStartsRace checks that any program that needs the daemon starts it, and that many
// that do so at once start one daemon.
func TestStartsRace(t *testing.T) {
	b := startBroker(t)
	alice := newUser(t, "alice")
	alice.create(b, "team")
	built := time.Now()
	t.Setenv(daemonDirEnv, string(alice.dir))
	start := func(built time.Time) local.Info {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		info, err := Start(ctx, StartOptions{
			Dir: alice.dir, Build: local.Build{Version: "test", Built: built}, Executable: "/usr/bin/env",
			Args: []string{daemonDirEnv + "=" + string(alice.dir), daemonBuiltEnv + "=" + built.Format(time.RFC3339Nano), os.Args[0]},
		})
		if err != nil {
			t.Errorf("start: %v", err)
		}
		return info
	}
	together := func(built time.Time) int {
		t.Helper()
		const racers = 8
		infos := make([]local.Info, racers)
		var race sync.WaitGroup
		for i := range infos {
			race.Go(func() { infos[i] = start(built) })
		}
		race.Wait()
		for i := range infos {
			if infos[i] != infos[0] {
				t.Errorf("two daemons: %d and %d", infos[i].PID, infos[0].PID)
			}
		}
		return infos[0].PID
	}
	first := together(built)
	p := alice.session().connected()
	key := p.key()
	if err := Run(t.Context(), Options{Dir: alice.dir}); !errors.Is(err, errRunning) {
		t.Errorf("a second daemon: %v", err)
	}
	if again := start(built.Add(-time.Hour)); again.PID != first {
		t.Error("an older program replaced the daemon")
	}
	second := together(built.Add(time.Hour))
	if second == first {
		t.Error("a newer program did not replace the daemon")
	}
	if p.connected(); p.key() != key {
		t.Error("the session has another key")
	}
	if got := alice.inRoster(); !slices.Equal(got, []string{p.id}) {
		t.Errorf("roster: %v", got)
	}
	if err := Stop(t.Context(), alice.dir, true); err != nil {
		t.Fatal(err)
	}
	if got := alice.inRoster(); len(got) != 0 {
		t.Errorf("roster after a leave: %v", got)
	}
	if err := Stop(t.Context(), alice.dir, true); !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("stop again: %v", err)
	}
}

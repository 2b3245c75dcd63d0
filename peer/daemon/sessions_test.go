package daemon

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// live returns the daemon's live sessions.
func (u *user) live() (ids []string) {
	u.t.Helper()
	for _, s := range u.status().Sessions {
		ids = append(ids, s.SessionID)
	}
	return ids
}

// inRoster returns the sessions in the mesh, and checks that each has one presence.
func (u *user) inRoster() (ids []string) {
	u.t.Helper()
	for _, row := range u.roster() {
		if slices.Contains(ids, row.SessionID) {
			u.t.Errorf("two presences of session %s", row.SessionID)
		}
		ids = append(ids, row.SessionID)
	}
	return ids
}

func TestSessionEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	p := alice.session().connected()
	if _, err := os.Stat(local.TicketPath(alice.dir, process.Here(p.pid()))); err != nil {
		t.Errorf("ticket: %v", err)
	}
	if got := alice.inRoster(); !slices.Equal(got, []string{p.id}) {
		t.Errorf("roster: %v", got)
	}
	p.kill()
	await.Until(t, "the session has ended", func() bool { return len(alice.live()) == 0 })
	await.Until(t, "the session is gone from the roster", func() bool { return len(alice.roster()) == 0 })
	if _, err := os.Stat(local.TicketPath(alice.dir, process.Here(p.pid()))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ticket of a dead process: %v", err)
	}
}

func TestSessionEndsWhenItSaysSo(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	first := alice.session().connected()
	second := alice.program(first.id)
	second.register()
	if s := alice.status().Sessions; len(s) != 1 || len(s[0].PIDs) != 2 {
		t.Fatalf("sessions: %+v", s)
	}
	end := func(p *program) {
		t.Helper()
		alice.must(local.VerbEnd, local.End{PID: p.pid(), SessionID: p.id, Reason: "other"}, nil)
	}
	end(first)
	if got := alice.live(); !slices.Equal(got, []string{first.id}) {
		t.Errorf("the second process's session: %v", got)
	}
	if err := first.call(local.VerbUnread, nil, nil); err == nil {
		t.Error("a process that has left could call for the session")
	}
	end(second)
	end(second)
	if got := alice.live(); len(got) != 0 {
		t.Errorf("sessions: %v", got)
	}
	await.Until(t, "the session is gone from the roster", func() bool { return len(alice.roster()) == 0 })
}

func TestRegisterIsIdempotent(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	p := alice.session(func(r *local.Register) {
		r.Source = local.SourceLaunch
		r.Groups = []wire.Group{{Name: "a", Role: "lead"}}
	}).connected()
	key := p.key()
	before, err := local.ReadTicket(alice.dir, p.pid())
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []local.Source{local.SourceStartup, local.SourceCompact, local.SourceResume} {
		p.register(func(r *local.Register) { r.Source = source; r.Meshes = []string{"team"} })
	}
	after, err := local.ReadTicket(alice.dir, p.pid())
	if err != nil || before != after {
		t.Errorf("tickets: %v and %v, %v", before, after, err)
	}
	s := alice.status().Sessions
	if len(s) != 1 || len(s[0].PIDs) != 1 || p.key() != key {
		t.Errorf("sessions: %+v", s)
	}
	if row := alice.roster()[0]; len(row.Groups) != 1 || row.Groups[0].Name != "a" || row.DisplayName != "alice-session" || row.Cwd != "/home/alice" {
		t.Errorf("roster: %+v", row)
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	dead := alice.program(uuid.NewString())
	deadPID := dead.pid()
	dead.kill()
	alive := alice.program(uuid.NewString())
	for _, tc := range []struct {
		name, code string
		in         local.Register
	}{
		{"no session", local.CodeInvalid, local.Register{PID: alive.pid()}},
		{"path for a session", local.CodeInvalid, local.Register{PID: alive.pid(), SessionID: "../../x"}},
		{"no process", local.CodeInvalid, local.Register{SessionID: alive.id}},
		{"dead process", local.CodeInvalid, local.Register{PID: deadPID, SessionID: alive.id}},
		{"reused number", local.CodeInvalid, local.Register{PID: alive.pid(), ProcStart: "1", SessionID: alive.id}},
		{"unknown mesh", local.CodeNotFound, local.Register{PID: alive.pid(), SessionID: alive.id, Meshes: []string{"other"}}},
		{"bad group", local.CodeInvalid, local.Register{PID: alive.pid(), SessionID: alive.id, Groups: []wire.Group{{Name: "@x"}}}},
	} {
		var e *local.Error
		if err := alice.owner(local.VerbRegister, tc.in, nil); !errors.As(err, &e) || e.Code != tc.code || e.Message == "" {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if got := alice.live(); len(got) != 0 {
		t.Errorf("sessions: %v", got)
	}
}

func TestProcessMovesToAnotherSession(t *testing.T) {
	t.Parallel()
	for _, source := range []local.Source{local.SourceResume, local.SourceFork, local.SourceStartup} {
		t.Run(string(source), func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			alice.up()
			bob.up()
			p := alice.session().connected()
			first, key := p.id, p.key()
			b := bob.session().connected()
			b.send(key.String(), "for the first")
			p.id = uuid.NewString()
			p.register(func(r *local.Register) { r.Source = source })
			p.connected()
			if got := alice.live(); !slices.Equal(got, []string{p.id}) || p.key() == key {
				t.Errorf("sessions: %v, key kept: %v", got, p.key() == key)
			}
			await.Until(t, "only the new session is in the roster", func() bool { return slices.Equal(without(alice.inRoster(), b.id), []string{p.id}) })
			b.send(p.key().String(), "for the second")
			if got := p.texts(1); !slices.Equal(got, []string{"for the second"}) {
				t.Errorf("the second session got %q", got)
			}
			again := alice.program(first)
			again.register(func(r *local.Register) { r.Source = local.SourceResume })
			again.connected()
			if got := again.texts(1); again.key() != key || !slices.Equal(got, []string{"for the first"}) {
				t.Errorf("the first session got %q", got)
			}
		})
	}
}

func without(list []string, drop string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == drop })
}

func TestClearIsSucceeded(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	a := alice.session().connected()
	p := bob.session(func(r *local.Register) { r.Role = "reviewer" }).connected()
	var keys []wire.Key
	for i := range 3 {
		old, key := p.id, p.key()
		keys = append(keys, key)
		a.send(key.String(), fmt.Sprintf("unread at clear %d", i))
		await.Until(t, "the message has come", func() bool { return unread(p) == i+1 })
		bob.must(local.VerbEnd, local.End{PID: p.pid(), SessionID: old, Reason: "clear"}, nil)
		if got := without(bob.inRoster(), a.id); !slices.Equal(got, []string{old}) {
			t.Errorf("between end and start: %v", got)
		}
		p.id = uuid.NewString()
		p.register(func(r *local.Register) { r.Source = local.SourceClear; r.Name = ""; r.Cwd = "" })
		if got := bob.live(); !slices.Equal(got, []string{p.id}) {
			t.Errorf("sessions: %v", got)
		}
		p.connected()
		await.Until(t, "the old presence is gone", func() bool {
			got := without(bob.inRoster(), a.id)
			if slices.Contains(got, old) && slices.Contains(got, p.id) {
				t.Errorf("both sessions are in the roster")
			}
			return slices.Equal(got, []string{p.id})
		})
	}
	if row := rowOf(bob, p.id); row.DisplayName != "bob-session" || row.Cwd != "/home/bob" {
		t.Errorf("the successor: %+v", row)
	}
	for i, key := range keys {
		sent := a.send(key.String(), fmt.Sprintf("after clear to %d", i))
		a.awaitState(sent.ID, local.Delivered)
	}
	want := []string{"unread at clear 0", "unread at clear 1", "unread at clear 2", "after clear to 0", "after clear to 1", "after clear to 2"}
	if got := p.texts(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func rowOf(u *user, session string) wire.PeerRow {
	for _, row := range u.roster() {
		if row.SessionID == session {
			return row
		}
	}
	return wire.PeerRow{}
}

func unread(p *program) int {
	p.t.Helper()
	var n local.Unread
	p.must(local.VerbUnread, nil, &n)
	return n.Unread
}

func TestClearInOneOfTwoTerminals(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	first := alice.session().connected()
	shared := first.id
	second := alice.program(shared)
	second.register()
	second.id = uuid.NewString()
	second.register(func(r *local.Register) { r.Source = local.SourceClear })
	second.connected()
	got := alice.inRoster()
	slices.Sort(got)
	want := []string{shared, second.id}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("roster: %v, want %v", got, want)
	}
}

func TestReusedPIDHasNoSession(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	p := alice.session().connected()
	alice.down()
	kept, err := store.Open(t.Context(), alice.dir)
	if err != nil {
		t.Fatal(err)
	}
	processes, err := kept.Processes(t.Context())
	if err != nil || len(processes) != 1 || processes[0].PID != p.pid() {
		t.Fatalf("got %+v, %v", processes, err)
	}
	processes[0].Start = "1"
	if err := kept.PutProcess(t.Context(), processes[0]); err != nil {
		t.Fatal(err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	alice.up()
	if got := alice.live(); len(got) != 0 {
		t.Errorf("a later process with the same pid belongs to session %v, want none", got)
	}
	if id, err := process.Of(p.pid()); err != nil || !id.Alive() {
		t.Fatalf("the process of the test is gone: %v", err)
	}
}

func TestMeshesOfASession(t *testing.T) {
	t.Parallel()
	b, alice, _ := pair(t)
	alice.up()
	single := alice.session().connected()
	alice.create(b, "second")
	await.Until(t, "the new mesh is connected", func() bool {
		m := alice.status().Meshes
		return len(m) == 2 && m[0].Connected && m[1].Connected
	})
	if got := single.register(); !slices.Equal(got.Meshes, []string{"team"}) {
		t.Errorf("a session that is in a mesh: %+v", got)
	}
	none := alice.program(uuid.NewString())
	if got := none.register(); len(got.Meshes) != 0 || len(got.Warnings) != 1 {
		t.Errorf("two meshes and none chosen: got %+v", got)
	}
	var e *local.Error
	if err := none.call(local.VerbPeers, nil, nil); !errors.As(err, &e) || e.Code != local.CodeUnavailable {
		t.Errorf("peers without a mesh: %v", err)
	}
	both := alice.program(uuid.NewString())
	if got := both.register(func(r *local.Register) { r.Meshes = []string{"team", "second", "team"} }); !slices.Equal(got.Meshes, []string{"second", "team"}) {
		t.Errorf("both: %+v", got)
	}
	if err := both.call(local.VerbSend, local.Send{To: "*", Text: "x"}, nil); !errors.As(err, &e) || e.Code != local.CodeInvalid {
		t.Errorf("send without a mesh: got error %v", err)
	}
	both.must(local.VerbPeers, local.PeersQuery{Mesh: "second"}, nil)
}

// TestMeshesOfOneSlug checks that the end of a mesh's id distinguishes two meshes of one slug,
// as in the command.
func TestMeshesOfOneSlug(t *testing.T) {
	t.Parallel()
	b, alice, _ := pair(t)
	alice.create(b, "team")
	config, err := peer.LoadConfig(alice.dir)
	if err != nil {
		t.Fatal(err)
	}
	first, second := config.Meshes[0].ShortID(), config.Meshes[1].ShortID()
	alice.up()
	await.Until(t, "both meshes are connected", func() bool {
		m := alice.status().Meshes
		return len(m) == 2 && m[0].Connected && m[1].Connected
	})
	both := alice.program(uuid.NewString())
	var e *local.Error
	err = alice.owner(local.VerbRegister, local.Register{PID: both.pid(), SessionID: both.id, Meshes: []string{"team"}}, nil)
	if !errors.As(err, &e) || !strings.Contains(e.Message, first) || !strings.Contains(e.Message, second) {
		t.Errorf("a slug of two meshes: %v", err)
	}
	if got := both.register(func(r *local.Register) { r.Meshes = []string{first, second} }); len(got.Meshes) != 2 {
		t.Errorf("both: %+v", got)
	}
	for _, mesh := range []string{"", "team"} {
		err := both.call(local.VerbSend, local.Send{To: "*", Text: "x", Mesh: mesh}, nil)
		if !errors.As(err, &e) || !strings.Contains(e.Message, first) || !strings.Contains(e.Message, second) {
			t.Errorf("send to %q: %v", mesh, err)
		}
	}
	both.must(local.VerbPeers, local.PeersQuery{Mesh: first}, nil)
	both.must(local.VerbPeers, local.PeersQuery{Mesh: second}, nil)
	if err := both.call(local.VerbPeers, local.PeersQuery{Mesh: first[1:]}, nil); !errors.As(err, &e) || e.Code != local.CodeNotFound {
		t.Errorf("seven digits: %v", err)
	}
}

// TestReturningSessionKeepsItsName checks that a returning session keeps its name, role and groups, also
// after the daemon restarts, and that a store with the first schema learns to keep them.
func TestReturningSessionKeepsItsName(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	alice.down()
	alice.exec(store.FileName, "DROP TABLE known; DROP TABLE handover; DROP TABLE earlier; ALTER TABLE process DROP COLUMN cleared; ALTER TABLE session DROP COLUMN config_dir; PRAGMA user_version = 1")
	alice.up()
	first := alice.session(func(r *local.Register) {
		r.Name, r.Role, r.Groups = "api", "reviewer", []wire.Group{{Name: "back", Role: "lead"}}
	}).connected()
	alice.must(local.VerbEnd, local.End{PID: first.pid(), SessionID: first.id}, nil)
	alice.down()
	alice.up()
	nameless := func(r *local.Register) { r.Name, r.Source = "", local.SourceResume }
	back := alice.program(first.id)
	back.register(nameless)
	back.connected()
	row := rowOf(alice, first.id)
	if row.DisplayName != "api" || len(row.Groups) != 1 || row.Groups[0] != (wire.Group{Name: "back", Role: "lead"}) {
		t.Errorf("the session is back as %+v", row)
	}
	other := alice.session(nameless).connected()
	if row := rowOf(alice, other.id); row.DisplayName != "alice" || len(row.Groups) != 0 {
		t.Errorf("a new session is shown as %+v", row)
	}
	back.register(func(r *local.Register) { r.Name = "web" })
	await.Until(t, "the session has its new name", func() bool { return rowOf(alice, first.id).DisplayName == "web" })
}

// TestNestedSession checks that a session started within another one gets its own name, also if
// it registers again, and shows its parent.
func TestNestedSession(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	alice.up()
	outer := alice.session(func(r *local.Register) { r.Name = "web" }).connected()
	inner := alice.program(uuid.NewString())
	nested := func(r *local.Register) { r.Name, r.Parent = "", outer.pid() }
	inner.register(nested)
	inner.connected()
	inner.register(nested)
	if row := rowOf(alice, inner.id); row.DisplayName != "web-"+inner.id[:8] {
		t.Errorf("the nested session is named %q", row.DisplayName)
	}
	await.Until(t, "the roster shows the session's parent", func() bool {
		summary := rowOf(alice, inner.id).Summary
		return summary != nil && *summary == "started by web"
	})
	if row := rowOf(alice, outer.id); row.DisplayName != "web" || row.Summary != nil {
		t.Errorf("the parent is %+v", row)
	}
	named := alice.program(uuid.NewString())
	named.register(func(r *local.Register) { r.Name, r.Parent = "api", outer.pid() })
	named.connected()
	if row := rowOf(alice, named.id); row.DisplayName != "api" {
		t.Errorf("a session with a given name is named %q", row.DisplayName)
	}
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

func newKey(t testing.TB) wire.Key {
	t.Helper()
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k.Public()
}

func TestPrintableObeysNoControls(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ünï 😀":        "plain ünï 😀",
		"two\nlines\tx":      "two\nlines\tx",
		"\x1b[2J":            `\u{1B}[2J`,
		"a\rb\bc\x7f":        `a\u{D}b\u{8}c\u{7F}`,
		"\u009b31m":          `\u{9B}31m`,
		"evil\u202etxt.exe":  `evil\u{202E}txt.exe`,
		"\u2066x\u2028y":     `\u{2066}x\u{2028}y`,
		"bad\xffutf8\uFFFD":  `bad\xFFutf8` + "\uFFFD",
		"\x1b]0;title\x07ok": `\u{1B}]0;title\u{7}ok`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := oneLine("a\nb\tc"); got != `a\nb c` {
		t.Errorf("got %q", got)
	}
}

func TestMessageText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 5, 12, 0, 0, 0, time.Local)
	a := &app{}
	for _, tc := range []struct {
		name string
		m    inbox.Stored
		want string
	}{
		{"direct", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.Direct, Verified: true}, " bob: hi"},
		{"id", inbox.Stored{MessageID: "0198c0de00000000000000001a2b3c4d", From: "bob", Body: "hi", Sealing: peer.Direct, Verified: true}, " 1a2b3c4d bob: hi"},
		{"mesh", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.InMesh, Verified: true}, " bob to the mesh: hi"},
		{"group", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.InMesh, Verified: true, To: []string{"@ops"}}, " bob to @ops: hi"},
		{"groups", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.InMesh, Verified: true, To: []string{"@o\x1bps", "*"}}, ` bob to @o\u{1B}ps, everybody: hi`},
		{"copy", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.Copied, Verified: true}, " bob to several: hi"},
		{"urgent", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.Direct, Verified: true, Priority: "now"}, " bob [now]: hi"},
		{"normal", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.Direct, Verified: true, Priority: "next"}, " bob: hi"},
		{"answer", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.Direct, Verified: true, ReplyTo: "0198c0de1a2b3c4d"}, " bob [answers 1a2b3c4d]: hi"},
		{"not verified", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.Direct, Doubt: "no\nword"}, ` bob [not verified: no\nword]: hi`},
		{"not verified, in the mesh", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.InMesh}, " bob to the mesh [not verified]: hi"},
		{"plain", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.NotEncrypted}, " bob [NOT ENCRYPTED, anybody may have written this]: hi"},
		{"plain to a group", inbox.Stored{From: "bob", Body: "hi", Sealing: peer.NotEncrypted, To: []string{"*"}}, " bob to everybody [NOT ENCRYPTED, anybody may have written this]: hi"},
		{"unopened", inbox.Stored{From: "bob", Error: "no\x1bkey", Sealing: peer.Unopened}, ` bob [can't be opened: no\u{1B}key]`},
		{"lines that look like a message", inbox.Stored{From: "bob", Body: "x\n12:00:00 alice: y", Sealing: peer.Direct, Verified: true}, " bob: x\n    12:00:00 alice: y"},
		{"name with a line", inbox.Stored{From: "bob\nalice", Body: "x", Sealing: peer.Direct, Verified: true}, ` bob\nalice: x`},
	} {
		tc.m.CreatedAt = now
		if got := a.messageText(&tc.m, now); got != now.Format("15:04:05")+tc.want {
			t.Errorf("%s: got %q", tc.name, got)
		}
	}
	if (&app{color: true}).paint(red, "x") != "\x1b[31mx\x1b[0m" || a.paint(red, "x") != "x" {
		t.Error("got colors, want none")
	}
}

func TestLetterText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 5, 12, 0, 0, 0, time.Local)
	m := inbox.Stored{
		MessageID: "0198c0de00000000000000001a2b3c4d", From: "bob\x1b", Sender: strings.Repeat("ab", 32), Verified: true, Compared: true, Sealing: peer.InMesh,
		To: []string{"@ops"}, Priority: "now", ReplyTo: "m0", Body: "one\ntwo\x07", CreatedAt: now.Add(-90 * time.Minute),
	}
	want := `From      bob\u{1B}, key abababab, proven, and compared by voice
To        @ops
Sent      2026-03-05 10:30:00 (1 h ago)
Id        0198c0de00000000000000001a2b3c4d
Answers   m0
Priority  now
Sealed    for the members of the mesh

one
two\u{7}
`
	if got := (&app{}).letterText(&m, now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	m = inbox.Stored{MessageID: "m", From: "bob", Sender: strings.Repeat("ab", 32), Doubt: "no\nword", Sealing: peer.Unopened, Error: "no key", Priority: "next", CreatedAt: now}
	want = `From      bob, key abababab, not verified: no\nword
To        you
Sent      2026-03-05 12:00:00 (now)
Id        m
Sealed    can't be opened
Problem   no key
`
	if got := (&app{}).letterText(&m, now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMoments(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 5, 12, 0, 0, 0, time.Local)
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 3, day, hour, minute, 0, 0, time.Local) }
	for in, want := range map[string]time.Time{
		"today": at(5, 0, 0), "Yesterday": at(4, 0, 0), "2h": at(5, 10, 0), "1d": at(4, 12, 0), "2026-03-01": at(1, 0, 0), "2026-03-01 09:30": at(1, 9, 30),
		"2026-03-01T09:30:00Z": time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC), "": {}, "soon": {}, "-2h": {}, "2026-13-01": {},
	} {
		got, err := parseMoment(in, now)
		if !got.Equal(want) || (err == nil) == want.IsZero() {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
	for want, then := range map[string]time.Time{
		"08:00:01": at(5, 8, 0).Add(time.Second), "yesterday 23:59": at(4, 23, 59), "tomorrow 00:00": at(6, 0, 0), "2026-03-03 10:00": at(3, 10, 0), "2026-03-07 10:00": at(7, 10, 0),
	} {
		if got := timeText(then, now); got != want {
			t.Errorf("%v: got %q, want %q", then, got, want)
		}
	}
	for want, then := range map[string]time.Time{"now": now, "5 min ago": at(5, 11, 55), "3 h ago": at(5, 8, 50), "2 d ago": at(3, 0, 0)} {
		if got := ago(then, now); got != want {
			t.Errorf("%v: got %q, want %q", then, got, want)
		}
	}
}

func TestPromise(t *testing.T) {
	t.Parallel()
	row := func(name, status, state string) wire.RecipientStatus {
		return wire.RecipientStatus{Name: name, Status: status, State: state}
	}
	many := make([]wire.RecipientStatus, 7)
	for i := range many {
		many[i] = row("p", wire.RecipientDelivered, "")
	}
	for _, tc := range []struct {
		want  string
		known bool
		rows  []wire.RecipientStatus
	}{
		{"delivered to bob", true, []wire.RecipientStatus{row("bob", wire.RecipientDelivered, "delivered")}},
		{"queued for bob (away): it will be delivered when they return", true, []wire.RecipientStatus{row("bob", wire.RecipientDisconnected, "pending")}},
		{"queued for bob (busy): it will be delivered when they are free", true, []wire.RecipientStatus{row("bob", wire.RecipientHeld, "pending")}},
		{"delivered to a; queued for b (away): it will be delivered when they return", true,
			[]wire.RecipientStatus{row("a", wire.RecipientDelivered, ""), row("b", wire.RecipientDisconnected, "")}},
		{"not delivered to bob: they can't get it any more", true, []wire.RecipientStatus{row("bob", wire.RecipientDisconnected, "gone")}},
		{"nobody gets it: there was no recipient", true, nil},
		{"accepted for @all", false, nil},
		{"delivered to p, p, p, p and 3 more", true, many},
	} {
		if got := promise("@all", tc.known, &wire.MessageStatusResult{Recipients: tc.rows}); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"7d": 7 * 24 * time.Hour, "1.5d": 36 * time.Hour, "12h": 12 * time.Hour, "90m": 90 * time.Minute,
		"": 0, "7": 0, "d": 0, "-1d": 0, "0d": 0, "1e300d": 0, "NaNd": 0, "-5m": 0, "week": 0,
	} {
		var d duration
		err := d.Set(in)
		if (err == nil) != (want > 0) || time.Duration(d) != want {
			t.Errorf("%q: got %v, %v", in, time.Duration(d), err)
		}
	}
	d := duration(7 * 24 * time.Hour)
	if d.String() != "7d" {
		t.Errorf("got %s", d.String())
	}
}

// run runs a command line in a directory of its own.
func run(t *testing.T, dir, stdin string, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("CLAUDEMESH_CONFIG_DIR", dir)
	var stdout, stderr bytes.Buffer
	a := &app{in: strings.NewReader(stdin), out: &stdout, err: &stderr}
	code = a.run(context.Background(), args)
	return code, stdout.String(), stderr.String()
}

func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		name, says string
		args       []string
		want       int
	}{
		{"version", "", []string{"version"}, exitOK},
		{"help", "", []string{"help", "send"}, exitOK},
		{"completion", "", []string{"completion", "bash"}, exitOK},
		{"no mesh", "not joined a mesh", []string{"peers"}, exitFailed},
		{"doctor without a mesh", "", []string{"doctor"}, exitFailed},
		{"unreachable broker", "broker unreachable", []string{"create", "team", "--broker", "ws://127.0.0.1:1/ws"}, exitFailed},
		{"unknown command", `unknown verb "claudemesh nosuch"`, []string{"nosuch"}, exitUsage},
		{"unknown flag", "no flag --nosuch", []string{"peers", "--nosuch"}, exitUsage},
		{"missing argument", "<message...> is missing", []string{"send", "bob"}, exitUsage},
		{"empty message", "empty", []string{"send", "bob", ""}, exitUsage},
		{"bad priority", "now, next or low", []string{"send", "bob", "x", "--priority", "urgent"}, exitUsage},
		{"bad group", "isn't a valid recipient", []string{"send", "@a b", "x"}, exitUsage},
		{"broker without a scheme", "isn't the URL of a broker", []string{"create", "team", "--broker", "127.0.0.1:1"}, exitUsage},
		{"broker with a password", "can't contain a user or a password", []string{"create", "team", "--broker", "ws://u:p@127.0.0.1:1/ws"}, exitUsage},
		{"broker's site", "nothing listens at 127.0.0.1:1", []string{"create", "team", "--broker", "http://127.0.0.1:1"}, exitFailed},
		{"bad slug", "slug", []string{"create", "My Team"}, exitUsage},
		{"bad duration", "duration", []string{"invite", "--expires", "soon"}, exitUsage},
		{"no uses", "--uses", []string{"invite", "--uses", "0"}, exitUsage},
		{"bad link", "isn't an invite link", []string{"join", "bob"}, exitUsage},
		{"link without its secret", "quotes", []string{"join", "https://host/i/0123456789abcdef"}, exitUsage},
		{"bad capability", "isn't a capability", []string{"grant", "bob", "fly"}, exitUsage},
		{"bad role", "admin or member", []string{"role", "bob", "king"}, exitUsage},
	} {
		code, out, errOut := run(t, t.TempDir(), "", tc.args...)
		if code != tc.want || !strings.Contains(errOut, tc.says) {
			t.Errorf("%s: exit code %d, %q, %q", tc.name, code, out, errOut)
		}
	}
	if code, _, errOut := run(t, t.TempDir(), "no link\n", "join", "-"); code != exitUsage || !strings.Contains(errOut, "isn't an invite link") {
		t.Errorf("link on stdin: %d, %q", code, errOut)
	}
}

func TestAuditLogMustAgreeWithCheckpoints(t *testing.T) {
	t.Parallel()
	meshID, key := wire.ID{1}, audit.NewKey()
	chain := func(n int, actor string) (rows []wire.AuditRow, head audit.Head) {
		for i := range n {
			var e audit.Entry
			e, head = audit.Extend(head, audit.NewEvent(meshID, time.UnixMilli(int64(i)), actor, audit.MeshCreatedDetail{Slug: "s"}))
			rows = append(rows, audit.Row(e))
		}
		return rows, head
	}
	log := &auditLog{meshID: meshID, verifier: key.Verifier(meshID), signed: make(map[int64]signedHead)}
	_, third := chain(3, "alice")
	log.expect(key.Checkpoint(meshID, third))
	log.expect(audit.NewKey().Checkpoint(meshID, audit.Head{Seq: 4, Hash: audit.Hash{4}})) // by nobody we know
	rows, _ := chain(5, "alice")
	if _, err := log.check(audit.Head{}, rows); err != nil {
		t.Errorf("a longer log: %v", err)
	}
	part, err := audit.FromRow(meshID, rows[2])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.check(audit.Head{Seq: part.Seq - 1, Hash: part.Prev}, rows[2:4]); err != nil {
		t.Errorf("a part of it: %v", err)
	}
	rewritten, _ := chain(5, "mallory")
	var contradiction *audit.ContradictionError
	if _, err := log.check(audit.Head{}, rewritten); !errors.As(err, &contradiction) || contradiction.Seq != 3 {
		t.Errorf("another history: %v", err)
	}
	rows[4].Actor = "mallory"
	var bad *audit.BadEntry
	if _, err := log.check(audit.Head{}, rows); !errors.As(err, &bad) || bad.Seq != 5 {
		t.Errorf("a changed entry: %v", err)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	busy := &peer.HelloError{Code: wire.CodeTryAgain, Message: "the mesh moves to another node"}
	for says, err := range map[string]error{
		"nothing was lost": &fateError{"nothing was lost", &peer.AwayError{Err: busy}},
		"(the mesh moves to another node); tried again for 20s": &peer.AwayError{Err: busy, For: 20 * time.Second},
		"(HTTP 502); tried again for 20s":                       fmt.Errorf("join: %w", &peer.AwayError{Err: &peer.HTTPError{Status: 502}, For: 20 * time.Second}),
		"; try again in 2m0s":                                   &peer.AwayError{Err: &peer.HTTPError{Status: 503}, After: 2 * time.Minute},
		"clock is 1m30s ahead":                                  &peer.HelloError{Code: wire.CodeTimestampSkew, Skew: 90 * time.Second},
		"refused the message":                                   &peer.RefusedError{Reason: "target_not_found: x"},
		"does not support this request":                         &peer.RequestError{Code: wire.CodeUnknownType, Message: "x"},
		"no answer in time":                                     context.DeadlineExceeded,
		"does the path end in":                                  &peer.NoWebSocketError{Status: 404},
		"doesn't speak TLS":                                     http.ErrSchemeMismatch,
	} {
		if got := explain(err); !strings.Contains(got, says) {
			t.Errorf("got %q, want %q", got, says)
		}
	}
}

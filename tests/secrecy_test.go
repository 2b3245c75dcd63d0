package tests

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver, to read the database directly

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// TestSecrecy sends a marker with the real command and searches everything that the broker
// has written for the marker and for every key that could decrypt it.
func TestSecrecy(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		secrecy(t, s, func() []byte { return sqliteBytes(t, s) })
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.DSN(t)
		secrecy(t, startServer(t, "DATABASE_URL="+dsn), func() []byte { return postgresBytes(t, dsn) })
	})
}

func secrecy(t *testing.T, s *server, stored func() []byte) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	link := alice.invite()
	token := alice.invite("--format", "v1")
	bob.must("join", link, "--name", "bob")
	carol := newPerson(t, s)
	carol.must("join", token, "--name", "carol")

	marker := "marker-" + uniqueID() + uniqueID()
	inbox := bob.start("inbox", "--follow", "--json")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 1 })
	// Send to a present member, to everybody, and to an absent member, so that one message
	// stays in the queue.
	for _, to := range []string{"bob", "@all", "*", "carol"} {
		alice.must("send", to, marker)
	}
	for range 3 {
		if m := parse(t, inbox.line()); m.str("body") != marker {
			t.Errorf("bob got %s", m)
		}
	}
	inbox.stop()

	secrets := secretsOf(t, alice, link)
	secrets["the message"] = []string{marker, hex.EncodeToString([]byte(marker))}
	for _, p := range []*person{bob, carol} {
		for name, forms := range secretsOf(t, p, link) {
			secrets[name+" of "+filepath.Base(filepath.Dir(p.dir))] = forms
		}
	}
	secrets["the v1 token"] = []string{strings.TrimPrefix(token, "ic://join/")}
	db, log := stored(), []byte(s.Log())
	if len(db) < 1000 || !bytes.Contains(db, []byte("team")) {
		t.Fatalf("the mesh's name is not in the %d bytes of the database", len(db))
	}
	for name, forms := range secrets {
		for _, form := range forms {
			if bytes.Contains(db, []byte(form)) {
				t.Errorf("%s is in the database", name)
			}
			if bytes.Contains(log, []byte(form)) {
				t.Errorf("%s is in the log", name)
			}
		}
	}
}

// secretsOf returns a member's secrets, in all plausible encodings.
func secretsOf(t *testing.T, p *person, link string) map[string][]string {
	t.Helper()
	c := p.config()
	root, err := base64.RawURLEncoding.DecodeString(c.str("rootKey"))
	if err != nil || len(root) != 32 {
		t.Fatalf("rootKey %q: %v", c.str("rootKey"), err)
	}
	secret, err := hex.DecodeString(c.str("secretKey"))
	if err != nil || len(secret) != 64 {
		t.Fatalf("secretKey: %v", err)
	}
	_, fragment, ok := strings.Cut(link, "#")
	if !ok {
		t.Fatalf("no fragment in %s", link)
	}
	open, err := base64.RawURLEncoding.DecodeString(fragment)
	if err != nil {
		t.Fatalf("the fragment %q: %v", fragment, err)
	}
	return map[string][]string{
		"the mesh key":      forms(root),
		"the secret key":    forms(secret[:32]),
		"the link's secret": forms(open),
	}
}

func forms(secret []byte) []string {
	return []string{
		string(secret), hex.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret),
	}
}

// sqliteBytes returns all bytes of the database's files.
func sqliteBytes(t *testing.T, s *server) []byte {
	t.Helper()
	files, err := filepath.Glob(s.sqlitePath() + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("database files: %v %v", files, err)
	}
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// postgresBytes returns every row of every table as text, with byte columns both in hex and
// raw.
func postgresBytes(t *testing.T, dsn string) []byte {
	t.Helper()
	conn := connectPostgres(t, dsn)
	ctx := context.Background()
	names, err := conn.Query(ctx, `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(names, pgx.RowTo[string])
	if err != nil || len(tables) < 5 {
		t.Fatalf("tables: %v %v", tables, err)
	}
	var all bytes.Buffer
	for _, table := range tables {
		rows, err := conn.Query(ctx, "SELECT r::text FROM "+table+" r")
		if err != nil {
			t.Fatal(err)
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			fmt.Fprintln(&all, text)
			for _, part := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(`(),"\`, r) }) {
				if raw, err := hex.DecodeString(strings.TrimPrefix(part, "x")); err == nil {
					all.Write(raw)
				}
			}
		}
	}
	return all.Bytes()
}

func connectPostgres(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// TestAuditHoldsNoCiphertext sends a known ciphertext and nonce and searches for them in the
// audit log, in the broker's log, and in the answer to audit_query.
func TestAuditHoldsNoCiphertext(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, s *server) {
		m := newTeam(t, s)
		bob := m.join(t, "bob")
		from, to := m.owner.daemon(t), bob.daemon(t)
		nonce := make([]byte, 24)
		rand.Read(nonce)
		secret := rand.Text() + rand.Text()
		from.send([]string{bob.keys.hex, "@all"}, secret, "nonce", base64.StdEncoding.EncodeToString(nonce))
		to.message()
		from.refused(draft(newKeys().hex, secret))
		to.leave()
		from.await("peer_left", isEvent("peer_left"))
		var entries frame
		await.Until(t, "the departure is in the audit log", func() bool {
			entries = from.request(frame{"type": "audit_query", "last": 100})
			return strings.Contains(entries.String(), "left")
		})
		if !strings.Contains(entries.String(), "routed") {
			t.Errorf("no message in the audit log: %s", entries)
		}
		for _, text := range []string{entries.String(), s.Log()} {
			for _, form := range append(forms([]byte(secret)), forms(nonce)...) {
				if strings.Contains(text, form) {
					t.Errorf("ciphertext or nonce in %.2000s", text)
				}
			}
		}
	})
}

// TestAuditVerify changes and deletes entries directly in the database.
func TestAuditVerify(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		auditVerify(t, s, "audit_entries", func(statement string) {
			db, err := sql.Open("sqlite", "file:"+s.sqlitePath()+"?_pragma=busy_timeout(10000)")
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.DSN(t)
		conn := connectPostgres(t, dsn)
		auditVerify(t, startServer(t, "DATABASE_URL="+dsn), "claudemesh.audit_entries", func(statement string) {
			if _, err := conn.Exec(context.Background(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		})
	})
}

func auditVerify(t *testing.T, s *server, table string, execute func(string)) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	from := m.owner.daemon(t)
	for range 5 {
		from.send(bob.keys.hex, "x")
	}
	await.Until(t, "the messages are in the audit log", func() bool {
		return strings.Count(from.request(frame{"type": "audit_query", "last": 100}).String(), "routed") == 5
	})
	verify := func() (string, int) { return s.RunCaddy("claudemesh", "audit", "verify", "--config", s.Config) }
	if out, code := verify(); code != 0 || !strings.Contains(out, m.id) {
		t.Fatalf("verify: %d %s", code, out)
	}
	s.Stop() // so that nothing is appended meanwhile
	if out, code := verify(); code != 0 {
		t.Fatalf("verify without a broker: %d %s", code, out)
	}
	names := func(what string) {
		t.Helper()
		out, code := verify()
		if code == 0 || !strings.Contains(out, m.id) || !strings.Contains(out, "entry 3 ") {
			t.Errorf("%s: exit code %d, and %s", what, code, out)
		}
	}
	execute("CREATE TABLE kept AS SELECT * FROM " + table + " WHERE seq = 3")
	execute("UPDATE " + table + " SET actor = 'somebody else' WHERE seq = 3")
	names("an entry was changed")
	execute("DELETE FROM " + table + " WHERE seq = 3")
	names("an entry was deleted")
	execute("INSERT INTO " + table + " SELECT * FROM kept")
	if out, code := verify(); code != 0 {
		t.Errorf("after the entry was restored: %d %s", code, out)
	}
	execute("DELETE FROM " + table + " WHERE seq > 2")
	names("the end was cut off")
}

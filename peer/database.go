package peer

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"

	_ "modernc.org/sqlite" // the driver

	"github.com/claudemesh/claudemesh/internal/netfs"
)

// NetworkFS says what is wrong with a directory for databases, and what to do, when it is
// on a network file system of a kind, see netfs.Kind; "" when kind is "".
func NetworkFS(d Dir, kind string) string {
	if kind == "" {
		return ""
	}
	return fmt.Sprintf("%s is on a network file system (%s): its databases do without their write-ahead log, which is slower, and rely on that system's locks; "+
		"set CLAUDEMESH_CONFIG_DIR to a directory on a local disk", d, kind)
}

// OpenDatabase opens an SQLite database that is this user's alone (mode 0600), or makes
// it. What was written survives a loss of power once the call has returned.
func OpenDatabase(ctx context.Context, path string, pragmas ...string) (*sql.DB, error) {
	return openDatabase(ctx, path, netfs.Kind(path), pragmas)
}

// openDatabase opens a database on a file system of a kind, see netfs.Kind. The
// write-ahead log needs memory that all processes share that have the file open; processes
// on two machines share none.
func openDatabase(ctx context.Context, path, kind string, pragmas []string) (*sql.DB, error) {
	// SQLite would create the file with the mode of the umask.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	file.Close()
	pragmas = append([]string{"busy_timeout(10000)", "synchronous(FULL)"}, pragmas...)
	if kind == "" {
		pragmas = append(pragmas, "journal_mode(WAL)")
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // one writer; others wait in line here instead of for the file
	if kind != "" {
		// This fails while another process has the file open with a log; then the log stays.
		_, _ = db.ExecContext(ctx, `PRAGMA journal_mode(DELETE)`)
	}
	return db, nil
}

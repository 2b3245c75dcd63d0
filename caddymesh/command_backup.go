package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

func backupCommand() *cobra.Command {
	var (
		from   source
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "backup <file>" + jsonUsage + fileUsage,
		Short: "Writes a copy of the SQLite database to a file, while the broker runs",
		Long: `
Writes a copy of the SQLite database to a new file, while the broker runs or not. The
copy has what was committed when the command began. The command checks the copy, and the
file appears only when it is complete and on disk. The command never overwrites a file.

For Postgres, use pg_dump or an archive of its log; see docs/backup.md.`,
		Example: `  caddy claudemesh backup --config /etc/caddy/Caddyfile /var/backups/mesh.db`,
		Args:    arguments("<file>"),
	}
	from.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := interruptible(cmd)
		defer stop()
		db, err := from.sqliteOnly("use pg_dump for it")
		if err != nil {
			return err
		}
		if err := mustExist(db); err != nil {
			return err
		}
		return withStore(db, func(store broker.Storage) error {
			contents, err := store.(*sqlite.Store).Backup(ctx, args[0], report(cmd.ErrOrStderr(), "copied"))
			switch {
			case errors.Is(err, fs.ErrExist):
				return fmt.Errorf("%w; name a new file", err)
			case errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("%w; make the directory %s first, or name another file", err, filepath.Dir(args[0]))
			case err != nil:
				return unwritten(err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
					File string `json:"file"`
					sqlite.Contents
				}{args[0], contents})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: backed up %s\n", args[0], inWords(&contents))
			return err
		})
	}
	return cmd
}

func restoreCommand() *cobra.Command {
	var (
		to              source
		replace, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "restore <file> [--replace]" + jsonUsage + fileUsage,
		Short: "Replaces the SQLite database with a backup",
		Long: `
Replaces the SQLite database with a backup. The command refuses while a broker uses
the database. If there is a database already, --replace sets it aside under another name.
The command upgrades the schema, and records the restore in the audit log of each mesh.

What happened after the backup is undone: members who were removed since then are members
again, and invites that were used or revoked are valid again.

For Postgres, restore with its own tools, and then run the command "restored".`,
		Example: `  caddy claudemesh restore --replace --config /etc/caddy/Caddyfile /var/backups/mesh.db`,
		Args:    arguments("<file>"),
	}
	to.flags(cmd)
	cmd.Flags().BoolVar(&replace, "replace", false, "Set an existing database aside")
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := interruptible(cmd)
		defer stop()
		db, err := to.sqliteOnly(`use pg_restore for it, and then "caddy claudemesh restored"`)
		if err != nil {
			return err
		}
		done, err := sqlite.Restore(ctx, sqlite.Restoration{
			Backup: args[0], Path: db.Path, Replace: replace, Progress: report(cmd.ErrOrStderr(), "copied"),
			Complete: func(ctx context.Context, s *sqlite.Store) error { return announceRestore(ctx, s) },
		})
		switch {
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%w; --replace sets it aside", err)
		case errors.Is(err, storage.ErrInUse):
			return fmt.Errorf("%w; stop the broker first", err)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EISDIR):
			return fmt.Errorf("%w; name a file that \"caddy claudemesh backup\" has written", err)
		case err != nil:
			return unwritten(err)
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
				Storage string `json:"storage"`
				Aside   string `json:"aside,omitempty"`
				sqlite.Contents
			}{db.Path, done.Aside, done.Contents})
		}
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "%s: restored %s\n", db, inWords(&done.Contents))
		if done.Aside != "" {
			fmt.Fprintf(out, "The database that was there is now %s\n", done.Aside)
		}
		_, err = fmt.Fprintln(out, "Members who were removed since the backup, and invites that were used or revoked, are valid again: check them.")
		return err
	}
	return cmd
}

func restoredCommand() *cobra.Command {
	var of source
	var shown display
	cmd := &cobra.Command{
		Use:   "restored" + jsonUsage + sourceUsage,
		Short: "Records in the audit log that a database was restored by other means",
		Long: `
Records in the audit log of each mesh that the database was restored from a backup. Use
it after pg_restore, a recovery to a point in time, or a copy of a file, before the
broker starts. The command "restore" does it itself.`,
		Example: `  caddy claudemesh restored --config /etc/caddy/Caddyfile`,
		Args:    cobra.NoArgs,
	}
	of.flags(cmd)
	shown.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return shown.each(cmd, &of, func(db Storage) (string, row, error) {
			if err := mustExist(db); err != nil {
				return "", nil, err
			}
			ctx := context.Background()
			err := withClaim(ctx, db, func(store broker.Storage) error { return announceRestore(ctx, store) })
			if errors.Is(err, storage.ErrInUse) {
				err = fmt.Errorf("%w; stop the broker first", err)
			}
			return db.String() + ": the restore is in the audit logs", row{}, err
		})
	}
	return cmd
}

// unwritten adds to an error what to do when the file that the operator has named can't be written
// there.
func unwritten(err error) error {
	var db *sqlitedriver.Error
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w; name another file", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; check who may write there, or name another file", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.As(err, &db) && db.Code()&0xff == sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w; make room on its disk, or name another file", err)
	}
	return err
}

// claimWithin is longer than a broker's lease of a Postgres database. A backup holds the
// lease of the broker that used the database then.
const claimWithin = 5 * time.Second

// claimSoon claims a storage that no broker uses.
func claimSoon(ctx context.Context, store broker.Storage) error {
	ctx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	var inUse error // the last answer of the database, should the next one come too late
	for {
		err := store.Claim(ctx)
		if ctx.Err() != nil && inUse != nil && err != nil {
			return inUse
		}
		if _, local := store.(*sqlite.Store); local || !errors.Is(err, storage.ErrInUse) {
			return err
		}
		inUse = err
		select {
		case <-time.After(claimWithin / 20):
		case <-ctx.Done():
			return err
		}
	}
}

// announceRestore records in the audit logs that the storage was restored.
func announceRestore(ctx context.Context, store broker.Storage) error {
	return audit.AnnounceRestore(ctx, store, time.Now(), func(ctx context.Context, e audit.Entry) error {
		_, err := store.Commit(ctx, &journal.Batch{Audit: []audit.Entry{e}})
		return err
	})
}

// sqliteOnly returns the storage that is named, if it is one, and SQLite.
func (s *source) sqliteOnly(instead string) (db *SQLite, err error) {
	err = s.each(func(storage Storage) error {
		found, ok := storage.(*SQLite)
		switch {
		case !ok:
			return fmt.Errorf("%s is not a SQLite database; %s", storage, instead)
		case db != nil:
			return fmt.Errorf("the config has several storages, among them %s and %s; name one with --sqlite", db, found)
		}
		db = found
		return nil
	})
	return db, err
}

// interruptible returns a context that an interrupt ends, so that the command can remove
// what is not complete.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

// reportEvery is the pause between two lines about progress.
const reportEvery = 2 * time.Second

// report returns a function that writes a line about progress now and then.
func report(out io.Writer, what string) sqlite.Progress {
	last := time.Now()
	return func(done, size int64) {
		if now := time.Now(); now.Sub(last) >= reportEvery {
			last = now
			fmt.Fprintf(out, "%s %d of %d MiB\n", what, done>>20, size>>20)
		}
	}
}

func inWords(c *sqlite.Contents) string {
	return fmt.Sprintf("%s with %s and %s not yet delivered (%d KiB, checked)", howMany(c.Meshes, "mesh", "meshes"),
		howMany(c.Members, "member", "members"), howMany(c.Waiting, "message", "messages"), c.Bytes>>10)
}

func howMany(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

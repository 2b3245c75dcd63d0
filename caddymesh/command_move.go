package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/move"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

func moveCommand() *cobra.Command {
	var (
		from, to, file, database string
		asJSON                   bool
	)
	cmd := &cobra.Command{
		Use:   "move --from sqlite --to postgres [--sqlite <path>] [--database <url>] [--json]",
		Short: "Copies everything from SQLite to Postgres, and compares every row",
		Long: `
Copies everything that a broker keeps from SQLite to Postgres, and compares every row. The
command refuses while a broker uses either of them. If it is interrupted, call it again: it
goes on where it was. Clients find their meshes in Postgres only after everything has been
copied and compared. The SQLite database stays as it is.

Without --sqlite, the command takes the database in Caddy's data directory; without
--database, the one that the environment variable DATABASE_URL names.`,
		Example: `  caddy claudemesh move --from sqlite --to postgres`,
		Args:    cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "What to move from: sqlite")
	flags.StringVar(&to, "to", "", "What to move to: postgres")
	flags.StringVar(&file, "sqlite", "", "SQLite database file")
	flags.StringVar(&database, "database", "", "Postgres connection string; use {env.NAME} or {file.PATH} to keep the password out of the process list")
	flags.BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if from != "sqlite" || to != "postgres" {
			return fmt.Errorf("move needs --from sqlite --to postgres: it supports nothing else")
		}
		return runMove(cmd, file, database, asJSON)
	}
	return cmd
}

// runMove moves a SQLite database to a Postgres database; "" means the default one.
func runMove(cmd *cobra.Command, file, database string, asJSON bool) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	source, err := namedStorage(ctx, "sqlite", "path", file)
	if err != nil {
		return err
	}
	target, err := namedStorage(ctx, "postgres", "dsn", database)
	if err != nil {
		return err
	}
	if err := mustExist(source); err != nil {
		return err
	}
	var moved move.Moved
	err = withClaim(ctx, source, func(s broker.Storage) error {
		return withClaim(ctx, target, func(t broker.Storage) (err error) {
			moved, err = move.Run(ctx, s.(*sqlite.Store), t.(*postgres.Store), reportMove(cmd.ErrOrStderr()))
			return err
		})
	})
	switch {
	case errors.Is(err, storage.ErrInUse):
		return fmt.Errorf("%w; stop the broker first", err)
	case errors.Is(err, move.ErrNotEmpty):
		return fmt.Errorf("move to %s: %w", target, err)
	case errors.As(err, new(*troubleError)): // it says all
		return err
	case err != nil:
		return fmt.Errorf("move to %s: %w; if a broker has used %s since an earlier move was interrupted, drop the schema claudemesh in Postgres and move again", target, err, source)
	}
	var rows int64
	for _, n := range moved {
		rows += n
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{"from": source.String(), "to": target.String(), "rows": rows, "tables": moved})
	}
	_, err = fmt.Fprintf(out, "%s: has all of %s now: %s, %s; each was compared\n", target, source,
		howMany(moved["meshes"], "mesh", "meshes"), howMany(rows, "row", "rows"))
	return err
}

// namedStorage returns the storage of a module, with one of its settings unless that is "".
func namedStorage(ctx context.Context, module, setting, value string) (Storage, error) {
	config := map[string]string{"module": module}
	if value != "" {
		config[setting] = value
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	cctx, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer cancel()
	return loadStorage(cctx, raw)
}

// withClaim opens and claims a storage for a call of use.
func withClaim(ctx context.Context, s Storage, use func(broker.Storage) error) error {
	return withStore(s, func(store broker.Storage) error {
		if err := store.Migrate(ctx); err != nil {
			return trouble(s, err)
		}
		switch err := claimSoon(ctx, store); {
		case errors.Is(err, storage.ErrInUse):
			return fmt.Errorf("%s: %w", s, err)
		case err != nil:
			return trouble(s, err)
		}
		return use(store)
	})
}

// reportMove returns a function that writes a line about progress now and then.
func reportMove(out io.Writer) move.Progress {
	last := time.Now()
	return func(table string, comparing bool, done, rows int64) {
		if now := time.Now(); now.Sub(last) >= reportEvery {
			last = now
			what := "copied"
			if comparing {
				what = "compared"
			}
			fmt.Fprintf(out, "%s: %s %d of %d rows\n", table, what, done, rows)
		}
	}
}

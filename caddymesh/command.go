package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/broker"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "claudemesh",
		Usage: "<command>",
		Short: "Controls a running claudemesh broker, and manages its storage",
		Long: `
Controls a running claudemesh broker through Caddy's admin endpoint, and manages the
storage of a broker without starting it.

The commands for the storage find the storage like the broker does: they use the storage of the
claudemesh handler in the config (--config, or the Caddyfile in the current
directory). Without a config, they use the Postgres database that the
environment variable DATABASE_URL names or, if it is not set, SQLite in Caddy's
data directory. --database and --sqlite name a storage directly.`,
		CobraFunc: addCommands,
	})
}

func addCommands(parent *cobra.Command) {
	audit := &cobra.Command{Use: "audit", Short: "Checks and exports the audit logs"}
	onlyHolds(parent)
	onlyHolds(audit)
	audit.AddCommand(verifyCommand(), exportCommand(), headsCommand())
	parent.AddCommand(migrateCommand(), storageCommand(), backupCommand(), restoreCommand(), restoredCommand(), moveCommand(), nodesCommand(), drainCommand(), rebalanceCommand(), healthCommand(), kickCommand(),
		removeCommand(), pageCommand(), audit)
	for _, q := range questions {
		parent.AddCommand(q.command())
	}
}

// onlyHolds makes a command show its help, and refuse words that are none of its commands.
func onlyHolds(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		similar := ""
		if list := cmd.SuggestionsFor(args[0]); len(list) > 0 {
			similar = fmt.Sprintf("did you mean %q? ", list[0])
		}
		return fmt.Errorf("%s has no command %q; %s%[1]s --help lists its commands", cmd.CommandPath(), args[0], similar)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// arguments returns a check that a command gets these arguments and no others.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		usage := "usage: " + cmd.CommandPath() + " " + strings.Join(names, " ")
		switch missing := names[min(len(args), len(names)):]; {
		case len(missing) > 1:
			return fmt.Errorf("%s are missing; %s", strings.Join(missing, " and "), usage)
		case len(missing) == 1:
			return fmt.Errorf("%s is missing; %s", missing[0], usage)
		case len(args) > len(names):
			return fmt.Errorf("there is an argument too many: %q; %s", args[len(names)], usage)
		}
		if empty := slices.Index(args, ""); empty >= 0 { // an unset variable of a shell
			return fmt.Errorf("%s is empty; %s", names[empty], usage)
		}
		return nil
	}
}

func migrateCommand() *cobra.Command {
	var from source
	var shown display
	cmd := &cobra.Command{
		Use:   "migrate" + jsonUsage + sourceUsage,
		Short: "Brings the database schema up to date",
		Long: `
Brings the database schema up to date, under a lock, and exits. The broker does
the same when it starts; use this command to do it beforehand. If the schema is
already up to date, the command changes nothing. If it is the schema of a newer
broker, the command fails.`,
		Example: `  caddy claudemesh migrate --config /etc/caddy/Caddyfile
  DATABASE_URL=postgres://mesh@db/mesh caddy claudemesh migrate --database '{env.DATABASE_URL}'`,
		Args: cobra.NoArgs,
	}
	from.flags(cmd)
	shown.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return shown.each(cmd, &from, func(storage Storage) (string, row, error) {
			err := withStore(storage, func(store broker.Storage) error { return store.Migrate(context.Background()) })
			return storage.String() + ": schema is up to date", row{}, err
		})
	}
	return cmd
}

func storageCommand() *cobra.Command {
	var from source
	var shown display
	cmd := &cobra.Command{
		Use:   "storage" + jsonUsage + sourceUsage,
		Short: "Prints where the broker keeps its data",
		Long:  "Prints where the broker keeps its data. Does not show secrets and does not open the storage.",
		Args:  cobra.NoArgs,
	}
	from.flags(cmd)
	shown.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return shown.each(cmd, &from, func(storage Storage) (string, row, error) { return storage.String(), row{}, nil })
	}
	return cmd
}

// withStore opens a storage, calls use, and closes the storage.
func withStore(storage Storage, use func(broker.Storage) error) error {
	store, err := storage.Open()
	if err != nil {
		return fmt.Errorf("open %s: %w", storage, err)
	}
	err = use(store)
	if closeErr := store.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	return trouble(storage, err)
}

// What the usage of a command says about its source: any storage, only a database server, or only a file.
const (
	sourceUsage = " [--config <file> [--adapter <name>] | --database <url> | --sqlite <path>]"
	serverUsage = " [--config <file> [--adapter <name>] | --database <url>]"
	fileUsage   = " [--config <file> [--adapter <name>] | --sqlite <path>]"
)

// source holds the flags that select a command's storage.
type source struct {
	config, adapter, database, sqlite string
}

func (s *source) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&s.config, "config", "c", "", "Config file with the claudemesh handler")
	flags.StringVarP(&s.adapter, "adapter", "a", "", "Name of the config adapter, if the file name doesn't imply it")
	flags.StringVar(&s.database, "database", "", "Postgres connection string; use {env.NAME} or {file.PATH} to keep the password out of the process list")
	flags.StringVar(&s.sqlite, "sqlite", "", "SQLite database file")
	cmd.MarkFlagsMutuallyExclusive("config", "database", "sqlite")
	cmd.MarkFlagsMutuallyExclusive("adapter", "database", "sqlite")
}

// each calls do once for every distinct storage.
func (s *source) each(do func(Storage) error) error {
	raws, err := s.storages()
	if err != nil {
		return err
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	seen := make(map[string]bool)
	for _, raw := range raws {
		storage, err := loadStorage(ctx, raw)
		if err != nil {
			return err
		}
		if seen[storage.Identity()] {
			continue
		}
		seen[storage.Identity()] = true
		if err := do(storage); err != nil {
			return err
		}
	}
	return nil
}

// storages returns the storage configurations. A nil element means the default storage.
func (s *source) storages() ([]json.RawMessage, error) {
	switch {
	case s.database != "":
		return storageJSON("postgres", "dsn", s.database)
	case s.sqlite != "":
		return storageJSON("sqlite", "path", s.sqlite)
	}
	config, file, _, err := caddycmd.LoadConfig(s.config, s.adapter)
	if err != nil {
		return nil, err
	}
	if len(config) == 0 {
		return []json.RawMessage{nil}, nil
	}
	var tree any
	if err := json.Unmarshal(config, &tree); err != nil {
		return nil, fmt.Errorf("config %s: %w", file, err)
	}
	found, err := handlerStorages(tree, nil)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("config %s has no claudemesh handler; add one, or name the storage with --database or --sqlite", file)
	}
	return found, err
}

func storageJSON(module, key, value string) ([]json.RawMessage, error) {
	raw, err := json.Marshal(map[string]string{"module": module, key: value})
	return []json.RawMessage{raw}, err
}

// handlerStorages appends the storage of every claudemesh handler in a config to found. It
// searches everywhere: handlers may be in subroutes, named routes or error routes.
func handlerStorages(tree any, found []json.RawMessage) ([]json.RawMessage, error) {
	var err error
	switch node := tree.(type) {
	case []any:
		for _, child := range node {
			if found, err = handlerStorages(child, found); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if node["handler"] == "claudemesh" {
			if node["storage"] == nil {
				return append(found, nil), nil
			}
			raw, err := json.Marshal(node["storage"])
			return append(found, raw), err
		}
		for _, key := range slices.Sorted(maps.Keys(node)) {
			if found, err = handlerStorages(node[key], found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// mustExist returns an error if a SQLite file doesn't exist. It is for commands that only
// read: opening the file would create an empty database, which passes every check.
func mustExist(storage Storage) error {
	if s, ok := storage.(*SQLite); ok {
		if _, err := os.Stat(s.Path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w; --config or --sqlite names another", s, fs.ErrNotExist)
		} else if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

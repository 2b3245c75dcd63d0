package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/broker"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "claudemesh",
		Usage: "<command>",
		Short: "Looks after the storage of a claudemesh broker",
		Long: `
Looks after the storage of a claudemesh broker, without starting one.

Which storage is found as the broker itself finds it: from the claudemesh handler
in the config (--config, or the Caddyfile in the current directory); without a
config from the environment variable DATABASE_URL; without that it is SQLite in
Caddy's data directory. --database and --sqlite name one directly.`,
		CobraFunc: addCommands,
	})
}

func addCommands(parent *cobra.Command) {
	parent.Args = cobra.NoArgs
	audit := &cobra.Command{
		Use:   "audit",
		Short: "Checks the audit log",
		Args:  cobra.NoArgs,
	}
	audit.AddCommand(verifyCommand())
	parent.AddCommand(migrateCommand(), storageCommand(), audit)
}

func migrateCommand() *cobra.Command {
	var from source
	cmd := &cobra.Command{
		Use:   "migrate [--config <file> [--adapter <name>] | --database <url> | --sqlite <path>]",
		Short: "Brings the database schema up to date",
		Long: `
Brings the database schema up to date, under a lock, and exits. The broker does the
same when it starts; this is for those who want it done beforehand. A schema that
is up to date is left as it is; one of a newer broker is an error.`,
		Example: `  caddy claudemesh migrate --config /etc/caddy/Caddyfile
  DATABASE_URL=postgres://mesh@db/mesh caddy claudemesh migrate --database '{env.DATABASE_URL}'`,
		Args: cobra.NoArgs,
	}
	from.flags(cmd)
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		return result(from.each(func(storage Storage) error {
			return withStore(storage, func(store broker.Storage) error {
				if err := store.Migrate(context.Background()); err != nil {
					return fmt.Errorf("migrate %s: %w", storage, err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: schema is up to date\n", storage)
				return nil
			})
		}))
	})
	return cmd
}

func storageCommand() *cobra.Command {
	var from source
	cmd := &cobra.Command{
		Use:   "storage [--config <file> [--adapter <name>] | --database <url> | --sqlite <path>]",
		Short: "Tells where the broker keeps its data",
		Long:  "Tells where the broker keeps its data, without secrets and without opening it.",
		Args:  cobra.NoArgs,
	}
	from.flags(cmd)
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		return result(from.each(func(storage Storage) error {
			fmt.Fprintln(cmd.OutOrStdout(), storage)
			return nil
		}))
	})
	return cmd
}

// result turns an error into what a Caddy command returns.
func result(err error) (int, error) {
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return caddy.ExitCodeSuccess, nil
}

// withStore opens a storage, for as long as use runs.
func withStore(storage Storage, use func(broker.Storage) error) (err error) {
	store, err := storage.Open()
	if err != nil {
		return fmt.Errorf("open %s: %w", storage, err)
	}
	defer func() {
		err = errors.Join(err, store.Close())
	}()
	return use(store)
}

// source is how a command was told which storage it is about.
type source struct {
	config, adapter, database, sqlite string
}

func (s *source) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&s.config, "config", "c", "", "The config with the claudemesh handler")
	flags.StringVarP(&s.adapter, "adapter", "a", "", "The config's adapter, if its name doesn't tell")
	flags.StringVar(&s.database, "database", "", "A Postgres connection string; {env.NAME} and {file.PATH} keep the password out of the process list")
	flags.StringVar(&s.sqlite, "sqlite", "", "A SQLite database file")
	cmd.MarkFlagsMutuallyExclusive("config", "database", "sqlite")
	cmd.MarkFlagsMutuallyExclusive("adapter", "database", "sqlite")
}

// each calls do with every storage, once each.
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

// storages returns the storage configurations; nil in it stands for the default.
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
		err = fmt.Errorf("config %s has no claudemesh handler", file)
	}
	return found, err
}

func storageJSON(module, key, value string) ([]json.RawMessage, error) {
	raw, err := json.Marshal(map[string]string{"module": module, key: value})
	return []json.RawMessage{raw}, err
}

// handlerStorages adds the storage of every claudemesh handler in a config to
// found. Handlers may stand anywhere: in subroutes, named routes, error routes.
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
		for _, child := range node {
			if found, err = handlerStorages(child, found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// mustExist refuses a SQLite file that is not there, for commands that only
// read: opening it would make an empty one, in which all is well.
func mustExist(storage Storage) error {
	if s, ok := storage.(*SQLite); ok {
		if _, err := os.Stat(s.Path); err != nil {
			return err
		}
	}
	return nil
}

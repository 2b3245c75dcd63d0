// Package migration reads the numbered SQL files that make and change a schema.
package migration

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Migration is one step of a schema.
type Migration struct {
	Version int    // from 1, without gaps
	Name    string // of the file
	SQL     string
}

// Load reads the .sql files of a folder, named NNN_what.sql. They must be
// numbered from 1 without gaps or repetition.
func Load(files fs.FS, dir string) ([]Migration, error) {
	entries, err := fs.ReadDir(files, dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var list []Migration
	for _, e := range entries {
		number, _, ok := strings.Cut(e.Name(), "_")
		version, err := strconv.Atoi(number)
		if !ok || err != nil || len(number) != 3 || path.Ext(e.Name()) != ".sql" {
			return nil, fmt.Errorf("migration %s is not named NNN_what.sql", e.Name())
		}
		if version != len(list)+1 {
			return nil, fmt.Errorf("migration %s should have number %d", e.Name(), len(list)+1)
		}
		sql, err := fs.ReadFile(files, path.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		list = append(list, Migration{version, e.Name(), string(sql)})
	}
	return list, nil
}

// MustLoad is Load for files that are part of the program.
func MustLoad(files fs.FS, dir string) []Migration {
	list, err := Load(files, dir)
	if err != nil {
		panic(err)
	}
	return list
}

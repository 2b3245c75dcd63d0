// Package migration reads the numbered SQL files that create and change a schema.
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
	Oldest  int    // a program that knows this version or a later one can work with the schema
	Name    string // of the file
	SQL     string
}

// oldest begins a file whose schema older programs can work with.
const oldest = "-- oldest: "

// load reads the .sql files of a directory, named NNN_what.sql. They must be numbered from
// 1 without gaps or repetition. If the first line of a file is "-- oldest: N", programs
// that know version N or a later one can work with the resulting schema. Without that
// line, only programs that know the file's own version can.
func load(files fs.FS, dir string) ([]Migration, error) {
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
		m := Migration{version, version, e.Name(), string(sql)}
		if text, ok := strings.CutPrefix(m.SQL, oldest); ok {
			line, _, _ := strings.Cut(text, "\n")
			if m.Oldest, err = strconv.Atoi(line); err != nil || m.Oldest < 1 || m.Oldest > version {
				return nil, fmt.Errorf("migration %s must name an oldest version from 1 to %d: %q", m.Name, version, line)
			}
		}
		list = append(list, m)
	}
	return list, nil
}

// MustLoad is load for files that are embedded in the program.
func MustLoad(files fs.FS, dir string) []Migration {
	list, err := load(files, dir)
	if err != nil {
		panic(err)
	}
	return list
}

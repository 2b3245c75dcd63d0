package migration

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files []string
		want  int // -1: an error
	}{
		{"none", nil, 0},
		{"in order", []string{"001_init.sql", "002_more.sql", "003_again.sql"}, 3},
		{"a gap", []string{"001_init.sql", "003_more.sql"}, -1},
		{"first is missing", []string{"002_more.sql"}, -1},
		{"a number twice", []string{"001_init.sql", "002_a.sql", "002_b.sql"}, -1},
		{"no number", []string{"init.sql"}, -1},
		{"a short number", []string{"1_init.sql"}, -1},
		{"not SQL", []string{"001_init.txt"}, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{"m": {Mode: fs.ModeDir | 0o755}}
			for _, name := range test.files {
				files["m/"+name] = &fstest.MapFile{Data: []byte("-- " + name)}
			}
			list, err := Load(files, "m")
			if test.want < 0 {
				if err == nil {
					t.Fatalf("loaded %v", list)
				}
				return
			}
			if err != nil || len(list) != test.want {
				t.Fatalf("got %d migrations, %v; want %d", len(list), err, test.want)
			}
			for i, m := range list {
				if m.Version != i+1 || m.Name != test.files[i] || m.SQL != "-- "+m.Name {
					t.Errorf("migration %d is %+v", i, m)
				}
			}
		})
	}
}

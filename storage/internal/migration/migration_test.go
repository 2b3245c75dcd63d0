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
			list, err := load(files, "m")
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

func TestOldest(t *testing.T) {
	t.Parallel()
	for first, want := range map[string]int{
		"SELECT 1": 2, "-- oldest: 1\nSELECT 1": 1, "-- oldest: 2": 2, "-- oldest: 3\n": -1, "-- oldest: 0\n": -1, "-- oldest: x\n": -1,
	} {
		list, err := load(fstest.MapFS{"m/001_init.sql": {}, "m/002_more.sql": {Data: []byte(first)}}, "m")
		if want < 0 {
			if err == nil {
				t.Errorf("%q: %+v", first, list)
			}
			continue
		}
		if err != nil || list[1].Oldest != want {
			t.Errorf("%q: %+v, %v; want %d", first, list, err, want)
		}
	}
}

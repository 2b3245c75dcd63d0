package caddymesh

import "os"

// size returns the size in bytes of the database's existing files on disk.
func (s *SQLite) size() (n uint64) {
	for _, suffix := range [...]string{"", "-wal", "-shm"} {
		if info, err := os.Stat(s.Path + suffix); err == nil {
			n += uint64(info.Size())
		}
	}
	return n
}

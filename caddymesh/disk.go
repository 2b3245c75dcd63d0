package caddymesh

import "os"

// size returns how many bytes the database takes on the disk, as far as its files are there.
func (s *SQLite) size() (n uint64) {
	for _, suffix := range [...]string{"", "-wal", "-shm"} {
		if info, err := os.Stat(s.Path + suffix); err == nil {
			n += uint64(info.Size())
		}
	}
	return n
}

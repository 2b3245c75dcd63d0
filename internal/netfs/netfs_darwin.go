package netfs

import "golang.org/x/sys/unix"

func kind(path string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return ""
	}
	name := unix.ByteSliceToString(fs.Fstypename[:])
	if kind := byName(name); kind != "" || fs.Flags&unix.MNT_LOCAL != 0 {
		return kind
	}
	return name
}

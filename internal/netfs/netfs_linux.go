package netfs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// fuse is the number of all FUSE file systems; the mount table says which one it is.
	fuse = unix.FUSE_SUPER_MAGIC

	vboxsfMagic = 0x786f4256
	lustreMagic = 0x0bd00bd0
	gpfsMagic   = 0x47504653
	gfs2Magic   = 0x01161970
	beegfsMagic = 0x19830326
)

// numbered maps f_type of statfs(2) to file system types.
var numbered = map[uint32]string{
	unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.CIFS_SUPER_MAGIC: "SMB", unix.SMB2_SUPER_MAGIC: "SMB",
	unix.V9FS_MAGIC: "9p", vboxsfMagic: named["vboxsf"], unix.CEPH_SUPER_MAGIC: "Ceph", unix.AFS_FS_MAGIC: "AFS", unix.AFS_SUPER_MAGIC: "AFS",
	unix.CODA_SUPER_MAGIC: "Coda", unix.NCP_SUPER_MAGIC: "NCP", unix.OCFS2_SUPER_MAGIC: "OCFS2",
	lustreMagic: "Lustre", gpfsMagic: "GPFS", gfs2Magic: "GFS2", beegfsMagic: "BeeGFS",
}

func kind(path string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return ""
	}
	number := uint32(fs.Type) //nolint:gosec // some architectures sign-extend the number
	if number != fuse {
		return numbered[number]
	}
	var file unix.Stat_t
	if err := unix.Stat(path, &file); err != nil {
		return ""
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer mounts.Close()
	return byName(typeOf(mounts, fmt.Sprintf("%d:%d", unix.Major(file.Dev), unix.Minor(file.Dev))))
}

// typeOf finds the file system type of a device in a table like proc_pid_mountinfo(5):
//
//	36 35 0:53 / /home/me rw,relatime shared:1 - fuse.sshfs me@there: rw,user_id=0
func typeOf(mounts io.Reader, device string) string {
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		mount, fs, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		if ok && len(fields) > 2 && fields[2] == device {
			name, _, _ := strings.Cut(fs, " ")
			return name
		}
	}
	return ""
}

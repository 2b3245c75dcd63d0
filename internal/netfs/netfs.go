// Package netfs tells which files are on a file system that another machine serves or
// sees, too: there, locks may not hold, and memory that is mapped from a file is not shared
// with the other machine, on which SQLite's write-ahead log relies.
package netfs

import (
	"os"
	"path/filepath"
	"strings"
)

// Kind names the network file system that a file is on, or that it would be made on;
// "" for a local one, or when the system does not tell.
func Kind(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return kind(path)
		}
		path = filepath.Dir(path)
	}
}

// named are the types of file systems, as mount(8) of any system names them, that are
// served by another machine or by the host of a virtual one.
var named = map[string]string{
	"nfs": "NFS", "nfs4": "NFS",
	"cifs": "SMB", "smb3": "SMB", "smbfs": "SMB", "smb2": "SMB",
	"9p": "9p", "virtiofs": "virtiofs", "AppleVirtIOFS": "virtiofs", "vboxsf": "VirtualBox's shared folders", "prl_fs": "Parallels' shared folders",
	"fuse.sshfs": "sshfs", "fuse.glusterfs": "GlusterFS", "fuse.ceph-fuse": "Ceph", "fuse.ceph": "Ceph", "fuse.s3fs": "s3fs", "fuse.rclone": "rclone",
	"fuse.davfs": "WebDAV", "davfs": "WebDAV", "webdav": "WebDAV", "afpfs": "AFP", "ftp": "FTP",
	"fuse.grpcfuse": "Docker Desktop's shared folders", "fuse.osxfs": "Docker Desktop's shared folders", "fuse.vmhgfs-fuse": "VMware's shared folders",
	"ceph": "Ceph", "lustre": "Lustre", "gpfs": "GPFS", "beegfs": "BeeGFS", "afs": "AFS", "ocfs2": "OCFS2", "gfs2": "GFS2",
}

// byName returns the kind of a type of file system.
func byName(name string) string { return named[strings.TrimRight(name, "\x00")] }

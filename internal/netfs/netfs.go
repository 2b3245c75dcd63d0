package netfs

import (
	"os"
	"path/filepath"
	"strings"
)

// Kind returns the name of the network file system that a file is on, or would be created
// on. It returns "" for a local file system, or if the system doesn't tell.
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

// named maps the file system types, as mount(8) names them on any system, to the kinds of
// file systems that another machine or the host of a virtual machine serves.
var named = map[string]string{
	"nfs": "NFS", "nfs4": "NFS",
	"cifs": "SMB", "smb3": "SMB", "smbfs": "SMB", "smb2": "SMB",
	"9p": "9p", "virtiofs": "virtiofs", "AppleVirtIOFS": "virtiofs", "vboxsf": "VirtualBox's shared folders", "prl_fs": "Parallels' shared folders",
	"fuse.sshfs": "sshfs", "fuse.glusterfs": "GlusterFS", "fuse.ceph-fuse": "Ceph", "fuse.ceph": "Ceph", "fuse.s3fs": "s3fs", "fuse.rclone": "rclone",
	"fuse.davfs": "WebDAV", "davfs": "WebDAV", "webdav": "WebDAV", "afpfs": "AFP", "ftp": "FTP",
	"fuse.grpcfuse": "Docker Desktop's shared folders", "fuse.osxfs": "Docker Desktop's shared folders", "fuse.vmhgfs-fuse": "VMware's shared folders",
	"ceph": "Ceph", "lustre": "Lustre", "gpfs": "GPFS", "beegfs": "BeeGFS", "afs": "AFS", "ocfs2": "OCFS2", "gfs2": "GFS2",
}

// byName returns the kind of a file system type.
func byName(name string) string { return named[strings.TrimRight(name, "\x00")] }

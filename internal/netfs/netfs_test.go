package netfs

import "testing"

func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"nfs": "NFS", "nfs4": "NFS", "smbfs": "SMB", "cifs": "SMB", "9p": "9p", "virtiofs": "virtiofs", "AppleVirtIOFS": "virtiofs", "afpfs": "AFP",
		"webdav": "WebDAV", "fuse.sshfs": "sshfs", "apfs": "", "hfs": "", "ext4": "", "fuseblk": "", "": "",
	} {
		if got := byName(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

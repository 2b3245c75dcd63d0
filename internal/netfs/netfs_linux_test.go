package netfs

import (
	"strings"
	"testing"
)

// TestNumbers checks the numbers of file systems. They come from statfs(2), or from the kernel's
// headers if statfs(2) lacks them.
func TestNumbers(t *testing.T) {
	t.Parallel()
	for number, want := range map[uint32]string{
		0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "SMB", 0xfe534d42: "SMB", 0x01021997: "9p", 0x00c36400: "Ceph", 0x5346414f: "AFS",
		0xef53: "", 0x58465342: "", 0x9123683e: "", 0x01021994: "", 0x794c7630: "", 0x2fc12fc1: "", // ext4, xfs, btrfs, tmpfs, overlay, zfs
	} {
		if got := numbered[number]; got != want {
			t.Errorf("%#x: %q, want %q", number, got, want)
		}
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	const mounts = `22 27 0:21 / /proc rw,relatime - proc proc rw
36 35 0:53 / /home/me rw,relatime shared:1 master:2 - fuse.sshfs me@there: rw,user_id=0
37 35 0:54 / /work rw - virtiofs host rw
38 35 0:55 / /a\040b rw - fuse.gocryptfs /crypt rw
39 35 8:1 / /ntfs rw - fuseblk /dev/sda1 rw
torn
`
	for device, want := range map[string]string{"0:53": "sshfs", "0:54": "virtiofs", "0:55": "", "8:1": "", "0:21": "", "9:9": "", "0:5": ""} {
		if got := byName(typeOf(strings.NewReader(mounts), device)); got != want {
			t.Errorf("%s: %q, want %q", device, got, want)
		}
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/proc", "/proc/self/fd", "/proc/not/there/yet.db"} {
		if got := Kind(path); got != "" {
			t.Errorf("%s: %q", path, got)
		}
	}
}

package transcript

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEncode checks the names that Claude Code 2.1.330 has made for these directories.
func TestEncode(t *testing.T) {
	t.Parallel()
	long := "/srv/" + strings.Repeat("a", 150) + "/"
	kept := "-srv-" + strings.Repeat("a", 150) + "-"
	for _, tc := range []struct{ name, path, want string }{
		{"dots and underscores", "/p.dot_under", "-p-dot-under"},
		{"case and dashes are kept", "/UPPER-Case--x", "-UPPER-Case--x"},
		{"one dash a letter", "/ünïcode-日本", "--n-code---"},
		{"two dashes beyond the basic plane", "/emoji😀z", "-emoji--z"},
		{"all together", "/srv/p.dot_under/UPPER-Case--x/ünïcode-日本/emoji😀z/with space",
			"-srv-p-dot-under-UPPER-Case--x--n-code----emoji--z-with-space"},
		{"200 units", long + strings.Repeat("b", 44), kept + strings.Repeat("b", 44)},
		{"201 units", long + strings.Repeat("b", 45), kept + strings.Repeat("b", 44) + "-91vuiu"},
		{"longer", long + strings.Repeat("x.Y_", 30), kept + strings.Repeat("x-Y-", 11) + "-8mlib4"},
		{"longer, with all kinds", long + "ünïcode-日本-emoji😀z/" + strings.Repeat("Q", 60),
			kept + "-n-code----emoji--z-" + strings.Repeat("Q", 24) + "-r9rdwj"},
	} {
		if got := encode(tc.path); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestProjectDirResolvesLinks(t *testing.T) {
	t.Parallel()
	real, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	got, err := ProjectDir("/c", link)
	if want := filepath.Join("/c/projects", encode(real)); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if _, err := ProjectDir("/c", filepath.Join(link, "none")); err == nil {
		t.Error("got the project of a directory that doesn't exist")
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("/a/b")
	f.Add("/\xff😀" + strings.Repeat("z", 300))
	f.Fuzz(func(t *testing.T, path string) {
		name := encode(path)
		if len(name) > maxEncoded+1+7 { // 2^31 has six digits in base 36
			t.Errorf("%q: %d characters", path, len(name))
		}
		if strings.ContainsAny(name, "/.\\") {
			t.Errorf("%q leads out of the directory", name)
		}
	})
}

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestManPages checks that each verb has a page with its help text, and that no page contains
// markup that man doesn't understand.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	t.Setenv("CLAUDEMESH_CREATE_TOKEN", "not-for-a-page")
	if code, _, errOut := run(t, t.TempDir(), "", "man", dir); code != exitOK {
		t.Fatal(errOut)
	}
	groff, _ := exec.LookPath("groff")
	walk((&app{}).root(), func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			return
		}
		page := string(b)
		for _, section := range []string{".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH EXIT STATUS", ".SH EXAMPLE", "Nov 2023"} {
			if !strings.Contains(page, section) {
				t.Errorf("%s has no %q", name, section)
			}
		}
		for _, never := range []string{"not-for-a-page", "```", "<em>"} {
			if strings.Contains(page, never) {
				t.Errorf("%s has %q", name, never)
			}
		}
		if groff == "" {
			return
		}
		out, err := exec.Command(groff, "-man", "-ww", "-Kutf8", "-Tutf8", "-z", filepath.Join(dir, name)).CombinedOutput()
		if err != nil || strings.Contains(string(out), "macro") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	})
	page, err := os.ReadFile(filepath.Join(dir, "claudemesh-send.1"))
	if err != nil || !strings.Contains(string(page), "<to>") || !strings.Contains(string(page), "*") {
		t.Errorf("claudemesh-send.1 lacks text: %v\n%s", err, page)
	}
}

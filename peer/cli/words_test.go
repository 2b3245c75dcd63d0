package cli

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// foreign matches texts of the libraries that parse the command line.
var foreign = regexp.MustCompile(`strconv|arg\(s\)|pflag|parsing|invalid syntax|unknown (shorthand )?(flag|command)|accepts|requires at least|%!`)

// TestWrongCommandLines checks that an error explains the mistake and what to type.
func TestWrongCommandLines(t *testing.T) {
	for _, tc := range []struct{ line, says string }{
		{"sned bob hi", "did you mean `claudemesh send`?"},
		{"list", "`claudemesh peers`"},
		{"show 12345678", "did you mean `claudemesh inbox show`?"},
		{"revoke 12345678", "did you mean `claudemesh invites revoke`?"},
		{"nosuch", `unknown verb "claudemesh nosuch"`},
		{"help bogus", `unknown verb "claudemesh bogus"`},
		{"help sned", "did you mean `claudemesh send`?"},
		{"help daemon nosuch", `unknown verb "claudemesh daemon nosuch"`},
		{"daemon statsu", "did you mean `claudemesh daemon status`?"},
		{"send", "<to> and <message...> are missing\nUsage: claudemesh send <to> <message...>\nFor example: claudemesh send bob"},
		{"send bob", "<message...> is missing"},
		{"send bob --now x", `send bob -- "--now ..."`},
		{"send --priorty now bob x", "did you mean --priority?"},
		{"send bob x --priority", "--priority needs a value"},
		{"send bob x --timeout soon", `such as 30s, 5m or 12h, not "soon"`},
		{"peers --json=yes", `--json takes no value, or true or false (--json=false), but got "yes"`},
		{"peers -x", "has no flag -x"},
		{"peers extra", `takes no arguments, but got "extra"`},
		{"status", "<message id> is missing"},
		{"status one more", `unexpected argument "more"`},
		{"status 1234567", "the last 8 characters"},
		{"status set idle", "set_status"},
		{"status 12345678 --jsn", "did you mean --json?"},
		{"grant bob", "<capabilities...> is missing"},
		{"grant bob dm,fly", `"fly" isn't a capability`},
		{"role bob", "<admin | member> is missing"},
		{"invite --uses many", `--uses needs a number, not "many"`},
		{"--mesh", "--mesh needs a value"},
		{"join", "is missing"},
	} {
		code, out, errOut := run(t, t.TempDir(), "", strings.Fields(tc.line)...)
		errOut = strings.ReplaceAll(errOut, calledAs(), ownName)
		if code != exitUsage || out != "" || !strings.Contains(errOut, tc.says) || foreign.MatchString(errOut) {
			t.Errorf("%s: exit code %d, %q, %q", tc.line, code, out, errOut)
		}
	}
	for _, line := range []string{"--version", "-v", "version"} {
		if code, out, errOut := run(t, t.TempDir(), "", line); code != exitOK || strings.TrimSpace(out) != buildVersion() || errOut != "" {
			t.Errorf("%s: %d, %q, %q", line, code, out, errOut)
		}
	}
	for _, line := range []string{"", "help", "daemon", "--help"} {
		if code, out, _ := run(t, t.TempDir(), "", strings.Fields(line)...); code != exitOK || !strings.Contains(out, "Usage:") {
			t.Errorf("%q: %d, %q", line, code, out)
		}
	}
}

// TestEveryVerbExplainsMistakes gives every verb too few arguments, too many, and a flag
// that it does not have.
func TestEveryVerbExplainsMistakes(t *testing.T) {
	var paths [][]string
	walk((&app{}).root(), func(c *cobra.Command) {
		if !c.DisableFlagParsing {
			paths = append(paths, strings.Fields(c.CommandPath())[1:])
		}
	})
	for _, path := range paths {
		for _, more := range [][]string{{"--nosuch"}, {"--mesh"}, {"--quiet=perhaps"}, slices.Repeat([]string{"--help=perhaps"}, 2)} {
			var out, errOut bytes.Buffer
			a := &app{in: strings.NewReader(""), out: &out, err: &errOut}
			if code := a.run(t.Context(), append(slices.Clone(path), more...)); code != exitUsage || foreign.MatchString(errOut.String()) {
				t.Errorf("%v %v: exit code %d, %q", path, more, code, errOut.String())
			}
		}
	}
	// Check only the arguments; don't run anything.
	walk((&app{}).root(), func(c *cobra.Command) {
		for n := range 4 {
			if c.Args == nil {
				continue
			}
			if err := c.Args(c, slices.Repeat([]string{"12345678"}, n)); err != nil && foreign.MatchString(err.Error()) {
				t.Errorf("%s with %d arguments: %v", c.CommandPath(), n, err)
			}
		}
	})
}

package cli

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestVerbsExplainThemselves checks the help text of every verb for missing parts.
func TestVerbsExplainThemselves(t *testing.T) {
	root := (&app{}).root()
	walk(root, func(c *cobra.Command) {
		for _, lack := range lacks(c) {
			t.Errorf("%s %s", c.CommandPath(), lack)
		}
	})
	bare := &cobra.Command{Use: "bare", Short: "bare.", Example: "  claudemesh send --nosuch"}
	root.AddCommand(bare)
	if got := lacks(bare); len(got) != 6 {
		t.Errorf("a bare verb lacks only %q", got)
	}
	root.RemoveCommand(bare)
	for _, name := range []string{"help", "completion"} {
		if c, _, err := root.Find([]string{name}); err != nil || c.GroupID != other {
			t.Errorf("%s is in no group: %v", name, err)
		}
	}
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"send", "--help"})
	if err := root.Execute(); err != nil || !strings.Contains(out.String(), "\nExit codes:\n  0  ") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestHelpListsGroupsInOrder checks that the verbs that a newcomer needs come first.
func TestHelpListsGroupsInOrder(t *testing.T) {
	root := (&app{}).root()
	help := root.UsageString()
	at := -1
	for _, text := range []string{"First steps:", "  create ", "  invite ", "  join ", "Messages and peers:", "In Claude Code:", "Your meshes and keys:", "Members of a mesh:", "Run by Claude Code:", "Other commands:"} {
		next := strings.Index(help, text)
		if next <= at {
			t.Errorf("%q is out of order:\n%s", text, help)
		}
		at = next
	}
}

func walk(c *cobra.Command, visit func(*cobra.Command)) {
	for _, sub := range c.Commands() {
		if !isCobras(sub) && !sub.Hidden {
			visit(sub)
			walk(sub, visit)
		}
	}
}

var (
	sentence = regexp.MustCompile(`^[A-Z].{8,78}[^.]$`)
	exitLine = regexp.MustCompile(`(?m)^  (\d|else)`)
)

// lacks returns the parts that are missing in the help text of a verb.
func lacks(c *cobra.Command) (lacks []string) {
	if c.GroupID == "" && c.Parent() == c.Root() {
		lacks = append(lacks, "is in no group: see verbs")
	}
	if !sentence.MatchString(c.Short) {
		lacks = append(lacks, fmt.Sprintf("has no sentence of 10 to 80 characters, from a capital to no full stop: %q", c.Short))
	}
	if !exitLine.MatchString(c.Annotations[exitsKey]) {
		lacks = append(lacks, "has no exit codes")
	}
	lines := strings.Split(c.Example, "\n")
	if len(lines) < 2 {
		lacks = append(lacks, "has fewer than two examples")
	}
	if slices.Sort(lines); len(slices.Compact(lines)) < len(lines) {
		lacks = append(lacks, "has an example twice")
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "  ") || !strings.Contains(line, c.CommandPath()) && !strings.Contains(line, c.Root().Name()+" "+c.Name()) {
			lacks = append(lacks, fmt.Sprintf("has an example of another verb: %q", line))
		}
		for _, words := range claudemeshCommands(line) {
			if err := understood(words); err != nil {
				lacks = append(lacks, fmt.Sprintf("has an example that is not understood: %q: %v", line, err))
			}
		}
	}
	return lacks
}

// claudemeshCommands returns the words after each claudemesh in a shell line.
func claudemeshCommands(line string) (commands [][]string) {
	var words []string
	end := func() {
		if i := slices.Index(words, "claudemesh"); i >= 0 && !slices.Contains(words[:i], "claude") {
			commands = append(commands, words[i+1:])
		}
		words = nil
	}
	for _, w := range shellWords(line) {
		switch w {
		case "|", "&&", "<", ">":
			end()
		default:
			words = append(words, w)
		}
	}
	end()
	return commands
}

// shellWords splits a shell line and drops its comment.
func shellWords(line string) (words []string) {
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == '#' && !inWord:
			return words
		case r == ' ' && inWord:
			words = append(words, word.String())
			word.Reset()
			inWord = false
		case r != ' ':
			word.WriteRune(r)
			inWord = true
		}
	}
	return words
}

// understood checks a command line without running its verb.
func understood(args []string) error {
	if slices.Contains(args, "--") {
		args = args[:slices.Index(args, "--")]
	}
	root := (&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}).root()
	c, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if c.DisableFlagParsing {
		return nil
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}

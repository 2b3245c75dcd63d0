package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man <folder>",
		Short: "Write a man page for each verb into a folder",
		Example: `  claudemesh man /usr/local/share/man/man1
  claudemesh man . && man ./claudemesh-send.1`,
		Long: `Write the help text of each verb as a man page: claudemesh.1, claudemesh-send.1 and so on. The
command creates the folder if necessary, and replaces existing pages. If SOURCE_DATE_EPOCH is
set, it is the date of the pages.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.man(args[0]) },
	}
}

func (a *app) man(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	root := (&app{}).root() // a fresh one, because asMarkdown changes it
	asMarkdown(root)
	header := &doc.GenManHeader{Section: "1", Source: "claudemesh " + buildVersion(), Manual: "claudemesh"}
	if os.Getenv("SOURCE_DATE_EPOCH") == "" {
		now := time.Now()
		header.Date = &now
	}
	if err := doc.GenManTree(root, header, folder); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	_, err := fmt.Fprintf(a.out, "The man pages are in %s. To read one: man %s/claudemesh-send.1\n", folder, folder)
	return err
}

// asMarkdown turns the texts of a command and its subcommands into the Markdown that the
// generator reads, and adds the exit codes.
func asMarkdown(c *cobra.Command) {
	c.DisableAutoGenTag = true
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	c.Long = paragraphs(text) + "\n\n# EXIT STATUS\n" + literal(c.Annotations[exitsKey])
	c.Short = escaped(c.Short)
	c.Use = escaped(c.Use)
	c.LocalFlags().VisitAll(func(f *pflag.Flag) { f.Usage = escaped(f.Usage) })
	for _, sub := range c.Commands() {
		asMarkdown(sub)
	}
}

// paragraphs keeps the line breaks of paragraphs that contain indented lines. The others are
// wrapped by the reader's terminal.
func paragraphs(text string) string {
	list := strings.Split(text, "\n\n")
	for i, p := range list {
		if strings.HasPrefix(p, " ") || strings.Contains(p, "\n ") {
			list[i] = literal(p)
		} else {
			list[i] = escaped(p)
		}
	}
	return strings.Join(list, "\n\n")
}

func literal(text string) string { return "```\n" + text + "\n```" }

// escaped escapes the characters that are Markdown markup.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune("\\`*_{}[]<>#|&~", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

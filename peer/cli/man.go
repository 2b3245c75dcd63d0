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
		Short: "Write a man page of each verb into a folder",
		Example: `  claudemesh man /usr/local/share/man/man1
  claudemesh man . && man ./claudemesh-send.1`,
		Long: `Write what --help says of each verb as a man page, claudemesh.1, claudemesh-send.1 and so on,
into a folder, which is made if it is not there. Pages that are there are replaced.
SOURCE_DATE_EPOCH, if it is set, is their date.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.man(args[0]) },
	}
}

func (a *app) man(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	root := (&app{}).root() // it is changed for the pages
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

// asMarkdown makes of the texts of a command, and of those below, what the generator
// reads, and adds the exit codes.
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

// paragraphs keeps the lines of a paragraph in which some are indented, and lets the
// reader's terminal break those of the others.
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

// escaped writes a text so that none of its characters is markup.
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

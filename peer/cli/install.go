package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer/claudecode/install"
	"github.com/claudemesh/claudemesh/peer/claudecode/program"
)

func (a *app) installCommand() *cobra.Command {
	return &cobra.Command{
		Use: "install", Short: "Make every Claude Code session of yours a peer", Args: cobra.NoArgs,
		Example: `  claudemesh install
  claudemesh install && claude    # a session that peers can write to`,
		Long: `Install the plugin in Claude Code for good, and the status line if you have none, so
that sessions are peers without 'claudemesh launch'. They are in the only mesh that you
have joined; if you have joined several, launch says in which.

Do it again after claudemesh has moved. 'claudemesh uninstall' leaves Claude Code's
settings as they were.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.installer()
			if err != nil {
				return err
			}
			report, err := i.Install(cmd.Context())
			if err != nil {
				return err
			}
			text := "Installed in Claude Code; sessions that start from now on have it."
			if !report.Changed {
				text = "It is installed in Claude Code already."
			}
			if _, err := fmt.Fprintln(a.out, text); err != nil {
				return err
			}
			a.notes(report)
			return nil
		},
	}
}

func (a *app) uninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use: "uninstall", Short: "Take claudemesh out of Claude Code again", Args: cobra.NoArgs,
		Example: `  claudemesh uninstall
  claudemesh uninstall && claudemesh daemon down`,
		Long: `Take the plugin and the status line out of Claude Code, and leave its settings as they
were. Meshes, keys and messages stay; they are in the config directory.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.installer()
			var missing *program.NotFoundError
			if err != nil && !errors.As(err, &missing) {
				return err
			}
			report, err := i.Uninstall(cmd.Context())
			if err != nil {
				return err
			}
			text := "Uninstalled; Claude Code's settings are as they were."
			if !report.Changed {
				text = "It is not installed in Claude Code."
			}
			if _, err := fmt.Fprintln(a.out, text); err != nil {
				return err
			}
			a.notes(report)
			return nil
		},
	}
}

func (a *app) notes(r install.Report) {
	for _, note := range r.Notes {
		fmt.Fprintln(a.err, "note:", printable(note))
	}
}

// installer returns what installs this program in this user's Claude Code. It can
// be used even if the error is that there is no claude.
func (a *app) installer() (*install.Installer, error) {
	i := &install.Installer{Dir: a.dir}
	var err error
	if i.ConfigDir, err = program.ConfigDir(); err != nil {
		return i, err
	}
	if i.Executable, err = ownExecutable(); err != nil {
		return i, err
	}
	i.Claude, err = program.Find()
	return i, err
}

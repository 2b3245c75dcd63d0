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
		Use: "install", Short: "Make all your Claude Code sessions peers", Args: cobra.NoArgs,
		Example: `  claudemesh install
  claudemesh install && claude    # a session that peers can write to`,
		Long: `Install the plugin in Claude Code, and the status line if you don't have one, so that every
session becomes a peer, without 'claudemesh launch'. If you have joined a single mesh,
sessions are in that mesh; if you have joined several, use launch to choose.

Run it again after you move the claudemesh program. 'claudemesh uninstall' restores Claude
Code's settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.installer()
			if err != nil {
				return err
			}
			w := a.waiting("installing the plugin in Claude Code")
			report, err := i.Install(cmd.Context())
			w.done()
			if err != nil {
				return err
			}
			text := "Installed in Claude Code. Sessions that you start from now on are peers."
			if !report.Changed {
				text = "Already installed in Claude Code."
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
		Use: "uninstall", Short: "Remove claudemesh from Claude Code", Args: cobra.NoArgs,
		Example: `  claudemesh uninstall
  claudemesh uninstall && claudemesh daemon down`,
		Long: `Remove the plugin and the status line from Claude Code, and restore its settings. Your
meshes, keys and messages stay in the config directory.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.installer()
			var missing *program.NotFoundError
			if err != nil && !errors.As(err, &missing) {
				return err
			}
			w := a.waiting("removing the plugin from Claude Code")
			report, err := i.Uninstall(cmd.Context())
			w.done()
			if err != nil {
				return err
			}
			text := "Uninstalled. Claude Code's settings are restored."
			if !report.Changed {
				text = "Not installed in Claude Code; nothing was changed."
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

// installer returns the installer for this user's Claude Code. If the error is a
// *program.NotFoundError, the installer is still usable.
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

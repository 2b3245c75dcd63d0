package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer/daemon"
)

func (a *app) installServiceCommand() *cobra.Command {
	var print bool
	cmd := &cobra.Command{
		Use: "install-service", Short: "Start the daemon at login, as a service of systemd or launchd", Args: cobra.NoArgs,
		Example: `  claudemesh daemon install-service
  claudemesh daemon install-service --print    # only show the file`,
		RunE: func(*cobra.Command, []string) error {
			file, err := a.serviceFile()
			if err != nil {
				return err
			}
			if print {
				_, err := fmt.Fprintf(a.out, "# %s\n%s", file.Path, file.Text)
				return err
			}
			if err := os.MkdirAll(filepath.Dir(file.Path), 0o755); err != nil {
				return fmt.Errorf("install service: %w", err)
			}
			if err := os.WriteFile(file.Path, []byte(file.Text), 0o600); err != nil {
				return fmt.Errorf("install service: %w", err)
			}
			fmt.Fprintln(a.out, "Written:", file.Path)
			if err := a.system(file.Start); err != nil {
				return fmt.Errorf("start service: %w; the file is written, so the service starts at the next login", err)
			}
			_, err = fmt.Fprintln(a.out, "The daemon now runs as your service.")
			return err
		},
	}
	cmd.Flags().BoolVar(&print, "print", false, "print the service file, and don't install it")
	return cmd
}

func (a *app) uninstallServiceCommand() *cobra.Command {
	return &cobra.Command{
		Use: "uninstall-service", Short: "Remove the service; the daemon stops", Args: cobra.NoArgs,
		Example: `  claudemesh daemon uninstall-service
  claudemesh daemon uninstall-service && claudemesh daemon up    # run it without a service`,
		RunE: func(*cobra.Command, []string) error {
			file, err := a.serviceFile()
			if err != nil {
				return err
			}
			if _, err := os.Stat(file.Path); errors.Is(err, fs.ErrNotExist) {
				_, err := fmt.Fprintln(a.out, "The service is not installed.")
				return err
			}
			// Remove the file even if the service manager fails.
			stopErr := a.system(file.Stop)
			if err := os.Remove(file.Path); err != nil {
				return fmt.Errorf("uninstall service: %w", err)
			}
			_, printErr := fmt.Fprintln(a.out, "Removed:", file.Path)
			return errors.Join(stopErr, a.system(file.Forget), printErr)
		},
	}
}

func (a *app) serviceFile() (daemon.ServiceFile, error) {
	exe, err := ownExecutable()
	if err != nil {
		return daemon.ServiceFile{}, err
	}
	service, err := daemon.NewService(exe, a.dir.Path(daemon.LogName))
	if err != nil {
		return daemon.ServiceFile{}, err
	}
	return service.File(runtime.GOOS, os.Getuid())
}

// service checks that the program that an installed service starts still exists: a package
// manager may have moved it.
func (d *doctor) service() {
	file, err := d.serviceFile()
	if err != nil {
		return // this system has no services
	}
	text, err := os.ReadFile(file.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		d.found("service", false, "%v; make the file readable, or replace it with `claudemesh daemon install-service`", err)
		return
	}
	path := daemon.ServiceProgram(string(text))
	if found, err := exec.LookPath(path); err != nil || found != path {
		d.found("service", false, "%s starts %q, which does not exist or is not executable; run `claudemesh daemon install-service` again", file.Path, path)
		return
	}
	d.found("service", true, "%s starts %s", file.Path, path)
}

// system runs commands for the service manager.
func (a *app) system(commands [][]string) error {
	for _, c := range commands {
		cmd := exec.Command(c[0], c[1:]...)
		cmd.Stdout, cmd.Stderr = a.err, a.err
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(c, " "), err)
		}
	}
	return nil
}

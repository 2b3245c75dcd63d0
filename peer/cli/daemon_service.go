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
		Use: "install-service", Short: "Have the system start the daemon at login (systemd or launchd)", Args: cobra.NoArgs,
		Example: `  claudemesh daemon install-service
  claudemesh daemon install-service --print    # only look at the file`,
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
				return fmt.Errorf("%w; the file is written, and the service will be there at the next login", err)
			}
			_, err = fmt.Fprintln(a.out, "The daemon runs as a service of yours.")
			return err
		},
	}
	cmd.Flags().BoolVar(&print, "print", false, "only print the file")
	return cmd
}

func (a *app) uninstallServiceCommand() *cobra.Command {
	return &cobra.Command{
		Use: "uninstall-service", Short: "Take the service away again; the daemon stops", Args: cobra.NoArgs,
		Example: `  claudemesh daemon uninstall-service
  claudemesh daemon uninstall-service && claudemesh daemon up    # without the system`,
		RunE: func(*cobra.Command, []string) error {
			file, err := a.serviceFile()
			if err != nil {
				return err
			}
			if _, err := os.Stat(file.Path); errors.Is(err, fs.ErrNotExist) {
				_, err := fmt.Fprintln(a.out, "There is no service.")
				return err
			}
			// A system that can't be asked must not keep the file from going.
			stopErr := a.system(file.Stop)
			if err := os.Remove(file.Path); err != nil {
				return fmt.Errorf("uninstall service: %w", err)
			}
			fmt.Fprintln(a.out, "Removed:", file.Path)
			return errors.Join(stopErr, a.system(file.Forget))
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

// service checks that the service, if there is one, starts a program that is there: a
// package manager may have moved it.
func (d *doctor) service() {
	file, err := d.serviceFile()
	if err != nil {
		return // there are no services here
	}
	text, err := os.ReadFile(file.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		d.found("service", false, "%v; make it readable, or write it anew with `claudemesh daemon install-service`", err)
		return
	}
	path := daemon.ServiceProgram(string(text))
	if found, err := exec.LookPath(path); err != nil || found != path {
		d.found("service", false, "%s starts %q, which is not there; run `claudemesh daemon install-service` again", file.Path, path)
		return
	}
	d.found("service", true, "%s starts %s", file.Path, path)
}

// system runs commands of the system's service manager.
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

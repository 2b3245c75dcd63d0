package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/claudemesh/claudemesh/peer/backup"
)

// passphraseFlag adds --passphrase-file.
func passphraseFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "passphrase-file", "", "file whose first line is the passphrase (default: ask in the terminal)")
}

func (a *app) backupCommand() *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use:   "backup <file | ->",
		Short: "Back up your identity in a file, sealed under a passphrase",
		Example: `  claudemesh backup claudemesh.backup
  claudemesh backup - --passphrase-file secret.txt | ssh box 'cat > claudemesh.backup'`,
		Long: `Write your whole identity into a file, sealed under a passphrase of 8 or more characters: your meshes
with their keys, replaced keys, the keys of your sessions, and the members that you know, with the names
and keys that you have compared or trusted. The backup contains no messages: messages that still wait are
delivered wherever you restore it, and messages that you have are in inbox.db in the config directory.
Anybody who has the file and the passphrase can act as you. The command asks for the passphrase twice and
never shows it. Nobody can open the file without it. An existing file is not overwritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.backUp(cmd.Context(), args[0], passphraseFile) },
	}
	passphraseFlag(cmd, &passphraseFile)
	return cmd
}

func (a *app) backUp(ctx context.Context, file, passphraseFile string) error {
	if err := errors.Join(a.dir.Make(), a.repair()); err != nil {
		return err
	}
	if err := canBeNew(file); err != nil {
		return err
	}
	host, _ := os.Hostname() // only shown to the user
	contents, problems, err := backup.Collect(ctx, a.dir, host, time.Now())
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(a.err, "warning: not in the backup:", printable(p))
	}
	if len(contents.Config.Meshes)+len(contents.Kept)+len(contents.Sessions) == 0 {
		return fmt.Errorf("there is nothing to back up: %s contains no mesh and no key", a.dir)
	}
	passphrase, err := a.passphrase(ctx, passphraseFile, true)
	if err != nil {
		return err
	}
	w := a.waiting("sealing the backup")
	text, err := backup.Seal(contents, passphrase)
	w.done()
	if err != nil {
		return err
	}
	if file == "-" {
		_, err = a.out.Write(text)
	} else {
		err = writeNew(file, text)
	}
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	_, err = fmt.Fprintf(a.err, "The backup contains %s, %s and %s. Keep it in a different place than its passphrase.\n",
		count(len(contents.Config.Meshes)+len(contents.Kept), "member key"), count(len(contents.Sessions), "session key"),
		count(len(contents.Contacts.Members), "known member"))
	return err
}

// canBeNew refuses a file for a backup before the command asks for the passphrase.
func canBeNew(file string) error {
	switch file {
	case "-":
		return nil
	case "":
		return usagef("the name of the file is empty; nothing was written")
	}
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("backup: %s already exists; nothing was written. Choose another file, or remove this one first", file)
	}
	if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("backup: %s can't be written, because the directory %s does not exist; make it first, or choose another file", file, filepath.Dir(file))
	}
	return nil
}

// writeNew writes a new file, and removes it after an error. It fails if the file exists.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) restoreCommand() *cobra.Command {
	var passphraseFile string
	var replace bool
	cmd := &cobra.Command{
		Use:   "restore <file | ->",
		Short: "Restore a backup on this machine",
		Example: `  claudemesh restore claudemesh.backup
  claudemesh restore claudemesh.backup --passphrase-file secret.txt --replace`,
		Long: `Restore a file that 'claudemesh backup' has written into the config directory of this machine. Keys and
meshes that are already here stay. If you are a different member here, in a mesh of the backup, nothing is
restored; with --replace you become the member of the backup, and your current key is kept, as 'claudemesh
keys' shows. A session that has a different key here keeps that key.
A session can be live on one machine at a time: if you resume it here, it ends on the other machine.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.restoreBackup(cmd.Context(), args[0], passphraseFile, replace)
		},
	}
	passphraseFlag(cmd, &passphraseFile)
	cmd.Flags().BoolVar(&replace, "replace", false, "become the member of the backup in meshes where you are now a different member")
	return cmd
}

func (a *app) restoreBackup(ctx context.Context, file, passphraseFile string, replace bool) error {
	if file == "-" && passphraseFile == "" {
		return usagef("restore reads the backup from standard input, so it can't ask for the passphrase; use --passphrase-file")
	}
	if err := a.repair(); err != nil {
		return err
	}
	text, err := a.readBackup(ctx, file)
	if err != nil {
		return err
	}
	if err := backup.Check(text); err != nil { // before asking for the passphrase
		return fmt.Errorf("restore %s: %w; nothing was restored", file, err)
	}
	passphrase, err := a.passphrase(ctx, passphraseFile, false)
	if err != nil {
		return err
	}
	w := a.waiting("opening the backup")
	defer w.done()
	contents, err := backup.Open(text, passphrase)
	if err != nil {
		return fmt.Errorf("restore %s: %w; nothing was restored", file, err)
	}
	w.next("restoring the backup; Ctrl-C doesn't stop it")
	r, err := backup.Restore(context.WithoutCancel(ctx), a.dir, contents, replace)
	var conflict *backup.ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("%w. Nothing was restored; with --replace you become the member of the backup, and your current key is kept", conflict)
	}
	if err != nil {
		return err
	}
	for _, session := range r.Left {
		fmt.Fprintf(a.err, "warning: the session %s has a different key here and keeps it\n", session)
	}
	if _, err := fmt.Fprintf(a.out, "Restored from the backup of %s on %s: %s, %s and %s that were not here.\n", contents.CreatedAt.Local().Format("2006-01-02 15:04"),
		oneLine(contents.Host), count(r.Meshes, "membership"), count(r.Sessions, "session key"), count(r.Contacts, "known member")); err != nil {
		return err
	}
	a.printKept(r.Kept)
	return nil
}

func (a *app) readBackup(ctx context.Context, file string) ([]byte, error) {
	var in io.Reader
	if file == "-" {
		in = a.stdin(ctx, "Paste the backup. Ctrl-D on a line of its own ends it; Ctrl-C cancels.")
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read the backup: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, backup.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	return text, nil
}

// passphrase reads the passphrase from the first line of a file, or asks for it on the
// terminal. It asks twice for a fresh one.
func (a *app) passphrase(ctx context.Context, file string, fresh bool) (string, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read the passphrase: %w", err)
		}
		line, _, _ := strings.Cut(string(b), "\n")
		return longEnough(strings.TrimSuffix(line, "\r"))
	}
	in, ok := a.in.(*os.File)
	if !ok || !isTerminal(in) {
		return "", usagef("there is no terminal to ask for the passphrase; use --passphrase-file")
	}
	first, err := a.askPassphrase(ctx, in, "Passphrase: ")
	if err != nil || !fresh {
		return first, err
	}
	if _, err := longEnough(first); err != nil {
		return "", err
	}
	again, err := a.askPassphrase(ctx, in, "Repeat the passphrase: ")
	if err == nil && again != first {
		err = errors.New("the two passphrases differ; nothing was written. Run the command again")
	}
	return first, err
}

func longEnough(passphrase string) (string, error) {
	if len(passphrase) < backup.MinPassphrase {
		return "", usagef("the passphrase is too short: it needs at least %d characters", backup.MinPassphrase)
	}
	return passphrase, nil
}

// askPassphrase reads a line without echo. After an interrupt it turns the echo on again.
func (a *app) askPassphrase(ctx context.Context, in *os.File, question string) (string, error) {
	was, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	fmt.Fprint(a.err, question)
	text, err := interruptible(ctx, func() ([]byte, error) { return term.ReadPassword(int(in.Fd())) })
	fmt.Fprintln(a.err)
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), term.Restore(int(in.Fd()), was))
	}
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	return string(text), nil
}

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
)

// keyRow is a row of keys --json.
type keyRow struct {
	Pubkey string     `json:"pubkey"`
	Mesh   string     `json:"mesh"`
	MeshID string     `json:"meshId"`
	InUse  bool       `json:"inUse"`
	KeptAt *time.Time `json:"keptAt,omitempty"`
	File   string     `json:"file,omitempty"`
}

func (a *app) keysCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "List your member keys, including replaced ones",
		Example: `  claudemesh keys
  claudemesh keys restore 3fa94b21`,
		Long: `List your member keys: those in use, and those that you used before. No command deletes a member
key: if 'join --as-new-member', 'leave', 'forget' or 'restore' takes a key out of the config, the
command first saves the config as config.json.<date>.
--json: an array of {pubkey, mesh, meshId, inUse, keptAt?, file?}.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.keys(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(&cobra.Command{
		Use:   "restore <key>",
		Short: "Bring back a member key that was replaced",
		Example: `  claudemesh keys restore 3fa94b21
  claudemesh keys && claudemesh keys restore 3fa94b21    # a key from the list`,
		Long: `Use a previous member key again, and so become the member that you were before. The first 8 digits of
the key are enough. If you are now another member of that mesh, its key is kept, too, and stays in
the list. The command does not ask the broker: a member who was removed stays removed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.restoreKey(cmd.Context(), args[0]) },
	})
	return cmd
}

func (a *app) keys(asJSON bool) error {
	if err := a.repair(); err != nil {
		return err
	}
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return err
	}
	kept, err := a.keptKeys()
	if err != nil {
		return err
	}
	list := []keyRow{}
	rows := [][]string{{"KEY", "MESH", "ID OF THE MESH", "STATE", "FILE"}}
	for i := range config.Meshes {
		m := &config.Meshes[i]
		list = append(list, keyRow{Pubkey: m.Member.Public().String(), Mesh: m.Slug, MeshID: m.MeshID, InUse: true})
		rows = append(rows, []string{m.Member.Public().Short(), m.Slug, m.ShortID(), "in use", ""})
	}
	for _, k := range kept {
		m := &k.Mesh
		list = append(list, keyRow{Pubkey: m.Member.Public().String(), Mesh: m.Slug, MeshID: m.MeshID, KeptAt: &k.KeptAt, File: k.File})
		rows = append(rows, []string{m.Member.Public().Short(), m.Slug, m.ShortID(), "kept " + timeText(k.KeptAt, time.Now()), k.File})
	}
	if asJSON {
		return a.printJSON(list)
	}
	return a.table(rows)
}

// keptKeys returns the replaced keys, and warns about files that it can't read.
func (a *app) keptKeys() ([]peer.KeptKey, error) {
	kept, problems, err := peer.KeptKeys(a.dir)
	for _, p := range problems {
		fmt.Fprintln(a.err, "warning:", printable(p))
	}
	return kept, err
}

func (a *app) restoreKey(ctx context.Context, start string) error {
	kept, err := a.keptKeys()
	if err != nil {
		return err
	}
	k, err := peer.FindKept(kept, start)
	if err != nil {
		return err
	}
	replaced, err := peer.RestoreKey(ctx, a.dir, k)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.out, "You use the member key %s in the mesh %s again.\n", k.Mesh.Member.Public().Short(), k.Mesh.Slug); err != nil {
		return err
	}
	a.printKept(replaced)
	return nil
}

// printKept prints the file that keeps the previous key; file is "" if there is none.
func (a *app) printKept(file string) {
	if file != "" {
		fmt.Fprintf(a.err, "Your previous key is kept in %s; %s\n", file, copyable("`claudemesh keys` lists it, and `claudemesh keys restore` brings it back."))
	}
}

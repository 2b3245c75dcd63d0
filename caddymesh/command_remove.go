package caddymesh

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/visible"
)

func removeCommand() *cobra.Command {
	var a admin
	var shown display
	var yes bool
	cmd := &cobra.Command{
		Use: "remove <mesh> <name|key> [--yes]" + jsonUsage + whereUsage, Short: "Removes a member from a mesh for good", Args: cobra.ExactArgs(2),
		Long: `
Removes the member that a name, a key or the start of one means, as the mesh's owner could.
Its sessions end, what waits for them is dropped, and its key is not let in again. The
owner can't be removed. The audit log records the removal. The command shows who is meant
and asks before it does anything, unless --yes is given.`,
	}
	a.where(cmd)
	shown.flags(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "Don't ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{"mesh": {args[0]}, "target": {args[1]}}
		rows, err := a.ask(cmd.Context(), http.MethodPost, "remove", query)
		if err != nil {
			return err
		}
		if len(rows) != 1 {
			return fmt.Errorf("the broker named %d members for %q", len(rows), args[1])
		}
		name, _ := rows[0]["name"].(string)
		key, _ := rows[0]["key"].(string)
		if !yes {
			fmt.Fprintf(cmd.ErrOrStderr(), "Remove %s, key %s, with %v sessions or connections, from mesh %s for good? [y/N] ",
				visible.Line(name, visible.People), key, rows[0]["presences"], args[0])
			answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // at its end, the answer is no
			if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
				return errors.New("nobody was removed: the answer was not y; --yes answers in advance")
			}
		}
		query.Set("target", key)
		query.Set("confirmed", "yes")
		if rows, err = a.ask(cmd.Context(), http.MethodPost, "remove", query); err != nil {
			return err
		}
		return shown.print(cmd.OutOrStdout(), rows, []string{"name", "state", "key"})
	}
	return cmd
}

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
		Use: "remove <mesh> <name|key> [--yes]" + jsonUsage + whereUsage, Short: "Removes a member from a mesh for good", Args: arguments("<mesh>", "<name|key>"),
		Long: `
Removes the member with this name or key, as the mesh's owner could; the first 8 digits of a
key are enough. The member's sessions end, the broker drops the messages that wait for the
member, and it never lets the key in again. Nobody can remove the owner. The audit log records
the removal. The command shows the member and asks before it does anything, unless you give
--yes.`,
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

package caddymesh

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func healthCommand() *cobra.Command {
	var a admin
	var shown display
	cmd := &cobra.Command{
		Use: "health" + jsonUsage + whereUsage, Short: "Exits with 0 if every broker of the process could store a message now", Args: cobra.NoArgs,
		Long: `
Exits with 0 if every broker of the Caddy that runs could store a message now, and with 1
otherwise. Needs no shell, so it suits the health check of a container. A broker that
stands by for another one is not ready.`,
	}
	a.where(cmd)
	shown.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		rows, err := a.ask(cmd.Context(), http.MethodGet, "health", nil)
		if err != nil {
			return err
		}
		if err := shown.print(cmd.OutOrStdout(), rows, []string{"storage", "ready", "error"}); err != nil {
			return err
		}
		if len(rows) == 0 {
			return errors.New("no broker runs in this Caddy: it is starting, or its config has no claudemesh handler")
		}
		for _, row := range rows {
			if row["ready"] != true {
				return fmt.Errorf("the broker on %v can't store messages: %v", row["storage"], row["error"])
			}
		}
		return nil
	}
	return cmd
}

package caddymesh

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
)

// flagError says in plain words what is wrong with a flag.
func flagError(_ *cobra.Command, err error) error {
	if what, _, parsed := strings.Cut(err.Error(), ": strconv.ParseBool"); parsed {
		return errors.New(what + ": give true or false, or the flag alone")
	}
	return err
}

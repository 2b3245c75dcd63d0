package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The lines of cobra's script for fish that take the words before the cursor, and the same with
// each word quoted again. fish has removed their quotes, and the script evaluates them: without
// new quotes, a word with a space is two words, and Tab runs a command that another member has
// put into their name. The first word is the program: the user may have typed it as ~/bin/claudemesh.
const (
	fishWords  = "set -l args (commandline -opc)\n"
	fishQuoted = "set -l args (commandline -opc)\n    set args $args[1] (string escape -- $args)[2..-1]\n"
)

// quoteInFish mends the script that cobra generates for fish.
func quoteInFish(root *cobra.Command) {
	c, _, err := root.Find([]string{"completion", "fish"})
	if err != nil {
		panic(err) // cobra has added it
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		plain, err := c.Flags().GetBool("no-descriptions")
		if err != nil {
			return err
		}
		var script bytes.Buffer
		if err := root.GenFishCompletion(&script, !plain); err != nil {
			return err
		}
		if strings.Count(script.String(), fishWords) != 1 {
			return fmt.Errorf("write the completions for fish: cobra's script has changed and may execute parts of a name")
		}
		_, err = strings.NewReplacer(fishWords, fishQuoted).WriteString(c.OutOrStdout(), script.String())
		return err
	}
}

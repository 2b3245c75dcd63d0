package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/claudemesh/claudemesh/peer/internal/nearest"
)

// explainMistakes makes a command and its subcommands explain what is wrong with a command line,
// and what to type instead.
func explainMistakes(c *cobra.Command) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return flagError(c, err) })
	if c.HasSubCommands() && !c.Runnable() {
		c.Args, c.RunE = cobra.NoArgs, func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			var own usageError
			if err == nil || errors.As(err, &own) {
				return err
			}
			return argsError(c, args)
		}
	}
	for _, sub := range c.Commands() {
		explainMistakes(sub)
	}
}

// placeholder matches an argument in the usage line of a command.
var placeholder = regexp.MustCompile(`<[^>]+>|\[[^\]]+\]`)

// argsError says which arguments are missing, or which is one too many.
func argsError(c *cobra.Command, args []string) error {
	var names []string
	for _, name := range placeholder.FindAllString(strings.SplitN(c.Use, "--", 2)[0], -1) {
		if name[0] == '<' {
			names = append(names, name)
		}
	}
	switch {
	case c.HasSubCommands() && len(args) > 0:
		return unknownVerb(c, args[0])
	case len(args) < len(names):
		lacks := names[len(args):]
		is := "is"
		if len(lacks) > 1 {
			is = "are"
		}
		return fmt.Errorf("%s %s missing%s", strings.Join(lacks, " and "), is, usageOf(c))
	case len(names) == 0 && len(args) > 0:
		return fmt.Errorf("%s takes no arguments, but got %q%s", c.CommandPath(), args[0], usageOf(c))
	case len(args) > len(names):
		return fmt.Errorf("unexpected argument %q%s", args[len(names)], usageOf(c))
	}
	return fmt.Errorf("wrong arguments for %s%s", c.CommandPath(), usageOf(c))
}

// usageOf returns the usage line of a command and its first example.
func usageOf(c *cobra.Command) string {
	text := "\nUsage: " + strings.TrimSuffix(c.UseLine(), " [flags]")
	if example, _, _ := strings.Cut(strings.TrimSpace(c.Example), "\n"); example != "" {
		text += "\nFor example: " + strings.Replace(example, ownName, calledAs(), 1)
	}
	return text
}

// unknownVerb says that the verb doesn't exist, and suggests similar ones.
func unknownVerb(c *cobra.Command, typed string) error {
	text := fmt.Sprintf("unknown verb %q", c.CommandPath()+" "+typed)
	if meant := nearestVerbs(c, typed); len(meant) > 0 {
		text += "; did you mean `" + strings.Join(meant, "`, or `") + "`?"
	} else {
		text += "; `" + c.CommandPath() + " --help` lists the verbs"
	}
	return errors.New(text)
}

// flagError explains what is wrong with a flag.
func flagError(c *cobra.Command, err error) error {
	var none *pflag.NotExistError
	var lacks *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &none):
		name := "--" + none.GetSpecifiedName()
		if short := none.GetSpecifiedShortnames(); short != "" {
			name = "-" + none.GetSpecifiedName()
		}
		text := fmt.Sprintf("%s has no flag %s", c.CommandPath(), name)
		if meant := nearestFlag(c, none.GetSpecifiedName()); meant != "" {
			return fmt.Errorf("%s; did you mean --%s?", text, meant)
		}
		if c.Name() == "send" {
			text += "; if it is part of the message, put -- before the message: `claudemesh send bob -- \"" + name + " ...\"`"
		}
		return errors.New(text)
	case errors.As(err, &lacks):
		f := lacks.GetFlag()
		value, usage := pflag.UnquoteUsage(f)
		if value == "string" || value == "strings" {
			return fmt.Errorf("--%s needs a value: %s", f.Name, usage)
		}
		return fmt.Errorf("--%s needs a value (%s): %s", f.Name, value, usage)
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		switch f.Value.Type() {
		case "bool":
			return fmt.Errorf("--%s takes no value, or true or false (--%[1]s=false), but got %q", f.Name, invalid.GetValue())
		case "int", "int64", "uint", "uint64", "int32", "uint32", "float64":
			return fmt.Errorf("--%s needs a number, not %q", f.Name, invalid.GetValue())
		case "duration":
			return fmt.Errorf("--%s needs a duration such as 30s, 5m or 12h, not %q", f.Name, invalid.GetValue())
		}
		return fmt.Errorf("--%s: %w", f.Name, invalid.Unwrap())
	}
	return err
}

// nearestFlag returns the flag that is most like the one typed, or "" if none is.
func nearestFlag(c *cobra.Command, typed string) string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return nearest.Of(typed, names)
}

// nearestVerbs returns the verbs that the user may have meant: those of that name below another
// verb, or else a similar one.
func nearestVerbs(c *cobra.Command, typed string) (meant []string) {
	var names, below []string
	for _, sub := range c.Commands() {
		for _, deeper := range sub.Commands() {
			if !sub.Hidden && !deeper.Hidden && deeper.Name() == typed {
				below = append(below, deeper.CommandPath())
			}
		}
		switch {
		case sub.Hidden:
		case slices.Contains(sub.SuggestFor, typed), len(typed) > 2 && strings.HasPrefix(sub.Name(), typed):
			meant = append(meant, sub.CommandPath())
		default:
			names = append(names, sub.Name())
		}
	}
	if len(meant) == 0 {
		meant = below
	}
	if name := nearest.Of(typed, names); name != "" && len(meant) == 0 {
		meant = append(meant, c.CommandPath()+" "+name)
	}
	return meant
}

package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// verbs is a group of commands in the help text.
type verbs struct {
	id, title string
	commands  []*cobra.Command
}

// verbs returns all verbs, in the order in which people first need them. Each verb has a
// Short sentence, at least two examples, and its exit codes if they differ from the usual
// ones. TestVerbsExplainThemselves reports what a new verb lacks.
func (a *app) verbs() []verbs {
	return []verbs{
		{"start", "First steps:", []*cobra.Command{
			a.createCommand(), a.inviteCommand(), a.joinCommand(), a.whoamiCommand(), a.doctorCommand(),
		}},
		{"messages", "Messages and peers:", []*cobra.Command{
			a.peersCommand(), a.topCommand(), a.sendCommand(), a.statusCommand(), a.inboxCommand(), a.replyCommand(), a.verifyCommand(), a.trustCommand(),
		}},
		{"claude", "In Claude Code:", []*cobra.Command{
			a.launchCommand(), a.installCommand(), a.uninstallCommand(), a.sessionsCommand(), a.daemonCommand(),
		}},
		{"meshes", "Your meshes and keys:", []*cobra.Command{
			a.meshesCommand(), a.renameCommand(), a.leaveCommand(), a.forgetCommand(), a.keysCommand(),
			a.backupCommand(), a.restoreCommand(),
		}},
		{"members", "Members of a mesh:", []*cobra.Command{
			a.membersCommand(), a.invitesCommand(), a.grantCommand(), a.blockCommand(), a.unblockCommand(), a.roleCommand(),
			a.kickCommand(), a.banCommand(), a.unbanCommand(), a.bansCommand(), a.removeCommand(), a.auditCommand(),
		}},
		{"plugin", "Run by Claude Code:", []*cobra.Command{
			a.hookCommand(), a.waitCommand(), a.monitorCommand(), a.mcpCommand(), a.statuslineCommand(),
		}},
		{other, "Other commands:", []*cobra.Command{
			a.benchCommand(), a.versionCommand(), a.manCommand(),
		}},
	}
}

// other is the last group. The verbs that cobra adds are in it, too.
const other = "other"

func init() { cobra.EnableCommandSorting = false }

// addVerbs adds all verbs to root, with their groups, completions and help texts.
func (a *app) addVerbs(root *cobra.Command) {
	for _, g := range a.verbs() {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
		}
		root.AddCommand(g.commands...)
	}
	root.AddCommand(a.messageCommand())
	root.SetHelpCommandGroupID(other)
	root.SetCompletionCommandGroupID(other)
	root.SetHelpCommand(helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	quoteInFish(root)
	usualExits(root)
	a.addCompletions(root)
	explainMistakes(root)
	root.SetUsageTemplate(strings.TrimRight(root.UsageTemplate(), "\n") +
		"{{with index .Annotations \"" + exitsKey + "\"}}\n\nExit codes:\n{{.}}{{end}}\n")
}

// helpCommand replaces cobra's own: it suggests a verb for a mistyped one, and exits with 2.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [verb]", Short: "Show help for a verb", GroupID: other,
		Example: "  claudemesh help\n  claudemesh help send",
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			verb, _, err := c.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var list []cobra.Completion
			for _, sub := range verb.Commands() {
				if sub.IsAvailableCommand() {
					list = append(list, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return list, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			verb, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{unknownVerb(verb, rest[0])}
			}
			verb.InitDefaultHelpFlag()
			verb.InitDefaultVersionFlag()
			return verb.Help()
		},
	}
}

// exitsKey is the key of the annotation that lists a command's exit codes.
const exitsKey = "exit codes"

// The exit codes of nearly all verbs.
const (
	exitsDone   = "0  success"
	exitsFailed = "1  refused or failed; standard error says why"
	exitsUsage  = "2  wrong command line; nothing was done"
	exitsBroken = "130  interrupted"
)

// exits returns the Annotations of a verb whose exit codes differ from the usual ones. A
// line is a code, two spaces and its meaning.
func exits(lines ...string) map[string]string {
	return map[string]string{exitsKey: "  " + strings.Join(lines, "\n  ")}
}

// usualExits gives the usual exit codes to all verbs that don't list their own.
func usualExits(c *cobra.Command) {
	if _, own := c.Annotations[exitsKey]; !own {
		if c.Annotations == nil {
			c.Annotations = make(map[string]string)
		}
		c.Annotations[exitsKey] = exits(exitsDone, exitsFailed, exitsUsage, exitsBroken)[exitsKey]
	}
	for _, sub := range c.Commands() {
		usualExits(sub)
	}
}

// isCobras reports whether cobra adds the command.
func isCobras(c *cobra.Command) bool {
	return slices.Contains([]string{"help", "completion"}, c.Name()) && c.Parent() == c.Root()
}

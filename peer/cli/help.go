package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// verbs is a group of commands in the help.
type verbs struct {
	id, title string
	commands  []*cobra.Command
}

// verbs returns all verbs, in the order in which people come to use them. Each has a
// sentence (Short), two examples or more (Example) and, where they are not the usual
// ones, its exit codes (exits); TestVerbsExplainThemselves says what a new one lacks.
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
		{"members", "The members of a mesh:", []*cobra.Command{
			a.membersCommand(), a.invitesCommand(), a.grantCommand(), a.blockCommand(), a.unblockCommand(), a.roleCommand(),
			a.kickCommand(), a.banCommand(), a.unbanCommand(), a.bansCommand(), a.removeCommand(), a.auditCommand(),
		}},
		{"plugin", "Run by Claude Code:", []*cobra.Command{
			a.hookCommand(), a.waitCommand(), a.monitorCommand(), a.mcpCommand(), a.statuslineCommand(),
		}},
		{other, "Besides:", []*cobra.Command{
			a.benchCommand(), a.versionCommand(), a.manCommand(),
		}},
	}
}

// other is the group of the verbs that cobra adds.
const other = "other"

func init() { cobra.EnableCommandSorting = false }

// addVerbs adds all verbs, in groups, with what their help says.
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
	usualExits(root)
	a.addCompletions(root)
	inWords(root)
	root.SetUsageTemplate(strings.TrimRight(root.UsageTemplate(), "\n") +
		"{{with index .Annotations \"" + exitsKey + "\"}}\n\nExit codes:\n{{.}}{{end}}\n")
}

// helpCommand is cobra's, but for what it does about a word that is no verb.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [verb]", Short: "Tell how to use a verb", GroupID: other,
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

// exitsKey is the annotation of a command that holds its exit codes.
const exitsKey = "exit codes"

// The exit codes that nearly all verbs have.
const (
	exitsDone   = "0  done"
	exitsFailed = "1  refused or failed; standard error says why"
	exitsUsage  = "2  wrong command line; nothing was done"
	exitsBroken = "130  interrupted"
)

// exits is for the Annotations of a verb whose exit codes are not the usual three. A
// line is a code, two spaces and what it means.
func exits(lines ...string) map[string]string {
	return map[string]string{exitsKey: "  " + strings.Join(lines, "\n  ")}
}

// usualExits gives the usual exit codes to all verbs without their own.
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

// isCobras reports whether a command is one that cobra adds.
func isCobras(c *cobra.Command) bool {
	return slices.Contains([]string{"help", "completion"}, c.Name()) && c.Parent() == c.Root()
}

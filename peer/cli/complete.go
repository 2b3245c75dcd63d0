package cli

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// completionTimeout limits how long the shell waits for completions.
const completionTimeout = 900 * time.Millisecond

// choices returns the completions of a word; nil stands for file names. After an error or a
// timeout it offers nothing: the user is typing.
type choices func(ctx context.Context, a *app) []cobra.Completion

// completions maps the path of a verb to the completions of its arguments. Further arguments
// have none.
var completions = map[string][]choices{
	"send":          {peersAndGroups},
	"status":        {sentMessages},
	"inbox show":    {receivedMessages},
	"reply":         {receivedMessages},
	"verify":        {onePeer},
	"trust":         {onePeer},
	"grant":         {members, words(capabilities...)},
	"block":         {members},
	"unblock":       {members},
	"role":          {members, words("admin", "member")},
	"kick":          {onePeer},
	"ban":           {members},
	"unban":         {banned},
	"remove":        {members},
	"rename":        {meshes},
	"leave":         {meshes},
	"forget":        {meshes},
	"keys restore":  {keptKeys},
	"sessions rm":   {storedSessionIDs},
	"bench compare": {nil, nil},
	"restore":       {nil},
	"backup":        {nil},
}

// flagCompletions maps a flag, of one verb or of all, to its completions.
var flagCompletions = map[string]choices{
	"--mesh":           meshes,
	"launch --mesh":    meshes,
	"send --priority":  words("now", "next", "low"),
	"send --wait":      words(waitDelivered, waitRead),
	"reply --wait":     words(waitDelivered, waitRead),
	"send --reply-to":  receivedMessages,
	"reply --priority": words("now", "next", "low"),
	"invite --role":    words("member", "admin"),
	"invite --format":  words("link", "v1"),
	"inbox --from":     members,
	"inbox --group":    groups,
	"inbox --before":   receivedMessages,
	"audit --member":   members,
	"audit --kind":     words(auditKinds()...),
}

// addCompletions registers the completions of a command and its subcommands.
func (a *app) addCompletions(c *cobra.Command) {
	path := strings.TrimSpace(strings.TrimPrefix(c.CommandPath(), c.Root().Name()))
	args := completions[path]
	if c.ValidArgsFunction == nil && !c.DisableFlagParsing && c.Runnable() {
		c.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(given) >= len(args) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.offer(args[len(given)])
		}
	}
	for name, of := range flagCompletions {
		verb, flag, _ := strings.Cut(" "+name, " --")
		if strings.TrimSpace(verb) != path {
			continue
		}
		if err := c.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return a.offer(of)
		}); err != nil {
			panic(err) // flagCompletions names a flag that doesn't exist
		}
	}
	for _, sub := range c.Commands() {
		if !isCobras(sub) {
			a.addCompletions(sub)
		}
	}
}

// offer returns the completions of a word.
func (a *app) offer(of choices) ([]cobra.Completion, cobra.ShellCompDirective) {
	if of == nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	found := make(chan []cobra.Completion, 1)
	go func() { found <- of(ctx, a.silent()) }() // if it is late, it ends with the process
	select {
	case list := <-found:
		return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	case <-ctx.Done():
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// silent returns an app for completions. It prints nothing.
func (a *app) silent() *app {
	dir, _ := peer.DefaultDir() // without it, there are no completions
	return &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, dir: dir, mesh: a.mesh, broker: a.broker}
}

func words(list ...string) choices {
	return func(context.Context, *app) []cobra.Completion { return list }
}

// meshes returns a value of --mesh for each joined mesh.
func meshes(_ context.Context, a *app) (found []cobra.Completion) {
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return nil
	}
	for i, name := range config.Names() {
		found = append(found, described(name, config.Meshes[i].Name))
	}
	return found
}

// described returns a completion with a description.
func described(word, text string) cobra.Completion {
	return cobra.CompletionWithDesc(oneLine(word), oneLine(text))
}

func keptKeys(_ context.Context, a *app) (found []cobra.Completion) {
	kept, _, err := peer.KeptKeys(a.dir)
	if err != nil {
		return nil
	}
	for _, k := range kept {
		found = append(found, described(k.Mesh.Member.Public().Short(), k.Mesh.Slug))
	}
	return found
}

func storedSessionIDs(_ context.Context, a *app) (found []cobra.Completion) {
	list, err := a.storedSessions()
	if err != nil {
		return nil
	}
	for _, s := range list {
		found = append(found, described(s.SessionID, s.MeshSlug+", last used "+timeText(s.LastUsed, time.Now())))
	}
	return found
}

// maxMessages is how many of the newest messages are offered as completions.
const maxMessages = 30

func receivedMessages(ctx context.Context, a *app) (found []cobra.Completion) {
	m, store, err := a.openInbox(ctx)
	if err != nil {
		return nil
	}
	defer store.Close()
	list, err := store.List(ctx, m.MeshID, inbox.ListOptions{All: true, Limit: maxMessages})
	if err != nil {
		return nil
	}
	for _, s := range slices.Backward(list) {
		found = append(found, described(peer.ShortID(s.MessageID), s.From+": "+visible.Short(s.Body, visible.People, 40)))
	}
	return found
}

// names asks the broker for the peers and members. If the broker doesn't answer, it returns
// the members that this machine knows.
func (a *app) names(ctx context.Context) (peers []wire.PeerRow, members []wire.MemberRow, m peer.Mesh) {
	m, err := a.joined()
	if err != nil {
		return nil, nil, m
	}
	asked, cancel := context.WithTimeout(ctx, completionTimeout*2/3)
	defer cancel()
	client, err := a.dial(asked, a.visitor(m))
	if err == nil {
		defer client.Close()
		if peers, members, err = client.Roster(asked); err == nil {
			return peers, members, m
		}
	}
	store, err := inbox.Open(ctx, a.dir)
	if err != nil {
		return nil, nil, m
	}
	defer store.Close()
	known, err := store.Contacts().Acquired(ctx)
	if err != nil {
		return nil, nil, m
	}
	for _, c := range known.Members {
		if key, err := wire.ParseKey(c.Member); err == nil && c.MeshID == m.MeshID {
			members = append(members, wire.MemberRow{Pubkey: key, DisplayName: c.Name})
		}
	}
	return nil, members, m
}

func peersAndGroups(ctx context.Context, a *app) []cobra.Completion {
	peers, members, m := a.names(ctx)
	return append(recipients(peers, members, &m), groupsOf(peers)...)
}

func onePeer(ctx context.Context, a *app) []cobra.Completion {
	peers, members, m := a.names(ctx)
	return recipients(peers, members, &m)
}

func members(ctx context.Context, a *app) []cobra.Completion {
	_, members, m := a.names(ctx)
	return recipients(nil, members, &m)
}

func groups(ctx context.Context, a *app) []cobra.Completion {
	peers, _, _ := a.names(ctx)
	return groupsOf(peers)
}

// recipients returns a completion for each peer and member except the user: the name, or the
// start of the key if the name doesn't mean exactly this one.
func recipients(peers []wire.PeerRow, members []wire.MemberRow, m *peer.Mesh) (found []cobra.Completion) {
	own, now := m.Member.Public(), time.Now()
	seen := make(map[string]bool)
	add := func(name string, key, member wire.Key, text string) {
		if key == m.Member.Public() || seen[key.String()] || seen[name] {
			return
		}
		seen[key.String()] = true
		word := name
		if r, err := peer.Resolve(name, own, peers, members, now); err != nil || r.Member != member {
			word, text = key.String()[:16], name+", "+text
		} else {
			seen[name] = true
		}
		found = append(found, described(word, text))
	}
	for i := range peers {
		add(peers[i].DisplayName, peers[i].Pubkey, peers[i].MemberPubkey, string(peers[i].Status))
	}
	for i := range members {
		if !members[i].Removed {
			add(members[i].DisplayName, members[i].Pubkey, members[i].Pubkey, "member")
		}
	}
	return found
}

// groupsOf returns @all and the groups of the peers.
func groupsOf(peers []wire.PeerRow) []cobra.Completion {
	found := []cobra.Completion{described("@all", "everybody")}
	for i := range peers {
		for _, g := range peers[i].Groups {
			if c := described("@"+g.Name, "group"); !slices.Contains(found, c) {
				found = append(found, c)
			}
		}
	}
	return found
}

func banned(ctx context.Context, a *app) (found []cobra.Completion) {
	m, err := a.joined()
	if err != nil {
		return nil
	}
	client, err := a.dial(ctx, a.visitor(m))
	if err != nil {
		return nil
	}
	defer client.Close()
	bans, err := client.Bans(ctx)
	if err != nil {
		return nil
	}
	for _, b := range bans {
		found = append(found, described(b.Name, b.Reason))
	}
	return found
}

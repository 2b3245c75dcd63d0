package cli

import (
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
)

// completeMesh completes the first argument with the joined meshes.
func (a *app) completeMesh(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return meshNames(), cobra.ShellCompDirectiveNoFileComp
}

// meshNames returns what --mesh takes for each joined mesh: its slug, or its short id
// where several have the slug.
func meshNames() (names []cobra.Completion) {
	dir, err := peer.DefaultDir()
	if err != nil {
		return nil
	}
	config, err := peer.LoadConfig(dir)
	if err != nil {
		return nil
	}
	for i := range config.Meshes {
		m := &config.Meshes[i]
		name := m.Slug
		if _, err := config.Find(name); err != nil {
			name = m.ShortID()
		}
		names = append(names, cobra.CompletionWithDesc(name, oneLine(m.Name)))
	}
	return names
}

// completeKept completes the first argument with the keys that were replaced.
func (a *app) completeKept(_ *cobra.Command, args []string, _ string) (keys []cobra.Completion, _ cobra.ShellCompDirective) {
	dir, err := peer.DefaultDir()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	kept, _, _ := peer.KeptKeys(dir) // what can't be read is not offered
	for _, k := range kept {
		keys = append(keys, cobra.CompletionWithDesc(k.Mesh.Member.Public().Short(), k.Mesh.Slug))
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}

package tests

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestCompletionInBash presses Tab in bash, with names that need quoting.
func TestCompletionInBash(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite("--groups", "backend"), "--name", "bob the builder")
	bob.start("inbox", "--follow")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 1 })
	id := strings.Fields(alice.must("send", "bob the builder", "hello"))[0]
	for _, tc := range []struct {
		words []string
		want  []string
	}{
		{[]string{"send", ""}, []string{"bob the builder", "@all", "@backend"}}, // bash only lists several candidates
		{[]string{"send", "b"}, []string{`bob\ the\ builder`}},
		{[]string{"send", "@b"}, []string{"@backend"}},
		{[]string{"block", ""}, []string{`bob\ the\ builder`}},
		{[]string{"role", "x", ""}, []string{"admin", "member"}},
		{[]string{"peers", "--mesh", ""}, []string{"team"}},
		{[]string{"status", ""}, []string{id}},
		{[]string{"leav"}, []string{"leave"}},
	} {
		var got []string // a completion waits for nobody, so a busy machine may offer nothing
		await.Until(t, fmt.Sprintf("claudemesh %s<TAB> offers %q", strings.Join(tc.words, " "), tc.want), func() bool {
			got = alice.tab(tc.words...)
			return slices.Equal(got, tc.want)
		}, func() string { return fmt.Sprintf("%q", got) })
	}
}

// tab returns bash's completions of the last word.
func (p *person) tab(words ...string) []string {
	p.t.Helper()
	// The script needs only this function of the package bash-completion.
	const script = `
		_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
		compopt() { :; }
		source <("$0" completion bash)
		alias claudemesh="$0"; shopt -s expand_aliases
		COMP_WORDS=("$0" "$@") COMP_CWORD=$# COMP_LINE="$0 $*" COMP_POINT=1000 COMP_TYPE=9
		__start_claudemesh
		((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"`
	cmd := exec.Command("bash", append([]string{"-c", script, commands.Claudemesh}, words...)...)
	cmd.Env = p.env
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("bash: %v", err)
	}
	var offered []string
	for line := range strings.Lines(string(out)) {
		word, _, _ := strings.Cut(strings.TrimRight(line, " \n"), "  (") // the description
		offered = append(offered, strings.TrimRight(word, " "))
	}
	return offered
}

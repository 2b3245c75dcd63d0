package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// shells maps a shell to a function that presses Tab after a command line, and returns what the
// shell offers for the last word, quoted as the shell would insert it.
var shells = map[string]func(t *testing.T, p *person, line string) []string{"bash": tabInBash, "zsh": tabInZsh, "fish": tabInFish}

// TestCompletionInShells presses Tab in each shell, with a name that needs quoting and a name
// that is a command if it isn't quoted.
func TestCompletionInShells(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob, eve := newPerson(t, s), newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite("--groups", "backend"), "--name", "bob the builder")
	eve.must("join", alice.invite(), "--name", "eve $(touch ran)")
	bob.start("inbox", "--follow")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 1 })
	id := strings.Fields(alice.must("send", "bob the builder", "hello"))[0]
	for shell, tab := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("%s is not installed; scripts/need shells installs it", shell)
			}
			for _, tc := range []struct {
				line, want string
			}{
				{`send b`, `bob\ the\ builder`},
				{`send bob\ the\ b`, `bob\ the\ builder`},
				{`send e`, `eve\ \$\(touch\ ran\)`},
				{`send @b`, "@backend"},
				{`block b`, `bob\ the\ builder`},
				{`role bob\ the\ builder a`, "admin"},
				{`role eve\ \$\(touch\ ran\) a`, "admin"},
				{`peers --mesh `, "team"},
				{`status `, id},
				{`leav`, "leave"},
			} {
				var got []string // a completion has a time limit, so a busy machine may offer nothing
				await.Until(t, fmt.Sprintf("claudemesh %s<TAB> offers %q", tc.line, tc.want), func() bool {
					got = tab(t, alice, tc.line)
					return slices.Equal(got, []string{tc.want})
				}, func() string { return fmt.Sprintf("%q", got) })
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(alice.dir), "ran")); err == nil {
				t.Error("Tab has run the command in eve's name")
			}
		})
	}
}

// tabInBash calls the function that readline calls, with the words as bash splits the line.
func tabInBash(t *testing.T, p *person, line string) []string {
	t.Helper()
	// The script needs only this function of the package bash-completion.
	const script = `
		_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
		compopt() { :; }
		source <("$0" completion bash)
		COMP_WORDS=("$0" "$@") COMP_CWORD=$# COMP_LINE="$0 $*" COMP_POINT=1000 COMP_TYPE=9
		__start_claudemesh
		((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"`
	words := append([]string{"-c", script, commands.Claudemesh}, rawWords(line)...)
	var offered []string
	for line := range strings.Lines(p.shell(t, "bash", words...)) {
		word, _, _ := strings.Cut(strings.TrimRight(line, " \n"), "  (") // the description
		offered = append(offered, strings.TrimRight(word, " "))
	}
	return offered
}

// rawWords splits a line at its spaces, except those behind a backslash.
func rawWords(line string) (words []string) {
	const escaped = "\x00"
	for w := range strings.SplitSeq(strings.ReplaceAll(line, `\ `, escaped), " ") {
		words = append(words, strings.ReplaceAll(w, escaped, `\ `))
	}
	return words
}

// tabInFish asks fish, which has a command for what Tab offers.
func tabInFish(t *testing.T, p *person, line string) []string {
	t.Helper()
	const script = `
		set PATH (dirname $argv[1]) $PATH
		claudemesh completion fish | source
		complete --escape -C "claudemesh $argv[2]"`
	var offered []string
	for line := range strings.Lines(p.shell(t, "fish", "--no-config", "-c", script, commands.Claudemesh, line)) {
		word, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t") // the description
		offered = append(offered, word)
	}
	return offered
}

// tabInZsh types into an interactive zsh, since zsh completes only at its prompt. It returns at
// most one word.
func tabInZsh(t *testing.T, p *person, line string) []string {
	t.Helper()
	const script = `
		PATH=${1:h}:$PATH
		zmodload zsh/zpty
		zpty shell zsh -f -i
		zpty -w shell 'autoload -Uz compinit; compinit -u; source <(claudemesh completion zsh)'
		zpty -w shell 'tab() { zle expand-or-complete; print -r -- "$BUFFER" >'${(q)3}'; exit }; zle -N tab; bindkey "^I" tab'
		zpty -w -n shell "claudemesh $2"$'\t'
		while zpty -r shell line; do :; done
		cat $3`
	typed := "claudemesh " + line[:strings.LastIndex(strings.ReplaceAll(line, `\ `, "__"), " ")+1]
	out := p.shell(t, "zsh", "-f", "-c", script, "zsh", commands.Claudemesh, line, filepath.Join(t.TempDir(), "line"))
	word, offered := strings.CutPrefix(strings.TrimRight(out, "\n"), typed)
	if !offered {
		return nil
	}
	return []string{strings.TrimSuffix(word, " ")}
}

// shell runs a shell in the person's home and returns its standard output.
func (p *person) shell(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = p.env, filepath.Dir(p.dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

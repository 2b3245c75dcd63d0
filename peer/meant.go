package peer

import (
	"strings"

	"github.com/claudemesh/claudemesh/peer/internal/nearest"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// Meant returns the name or @group that is most like a target that matches nobody. It
// prefers the same word as a name, then as a group, then a word that differs in a few
// letters. It returns "" if nothing is similar.
func Meant(to string, peers []wire.PeerRow, members []wire.MemberRow) string {
	var words []string
	targets := make(map[string]string)
	consider := func(word, target string) {
		if _, known := targets[word]; !known && target != to {
			words, targets[word] = append(words, word), target
		}
	}
	name := func(name string) {
		if alike.Mistaken(name) == "" {
			consider(name, name)
		}
	}
	for i := range peers {
		name(peers[i].DisplayName)
	}
	for i := range members {
		if !members[i].Removed {
			name(members[i].DisplayName)
		}
	}
	for i := range peers {
		for _, g := range peers[i].Groups {
			consider(g.Name, "@"+g.Name)
		}
	}
	return targets[nearest.Of(strings.TrimLeft(to, "@#"), words)]
}

// DidYouMean returns a question about the result of Meant, ready to go before another
// sentence. It returns "" if meant is "".
func DidYouMean(meant string) string {
	if meant == "" {
		return ""
	}
	return `did you mean "` + visible.Line(meant, visible.People) + `"? `
}

// ReachesNobodyError reports that the broker refused a message to many because nobody
// would get it.
type ReachesNobodyError struct {
	Target string // as typed
	Reason string // the broker's words
	Meant  string // the result of Meant
}

func (e *ReachesNobodyError) Error() string {
	_, why, found := strings.Cut(e.Reason, ": ")
	if !found {
		why = e.Reason
	}
	text := "nothing was sent to " + e.Target + ": " + why
	if e.Meant != "" {
		text += "; " + strings.TrimSpace(DidYouMean(e.Meant))
	}
	return text
}

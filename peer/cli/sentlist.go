package cli

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
)

const (
	// sentName is the file that lists recently sent messages, for completions and for the status
	// of a message that the broker has forgotten. Losing it does no harm.
	sentName = "sent.json"
	maxSent  = 50
)

// sentEntry is a message that was sent.
type sentEntry struct {
	MeshID    string `json:"meshId"`
	MessageID string `json:"messageId"`
	To        string `json:"to"`
	// Left means that the daemon sends the message, and that MessageID is its id in the
	// daemon's outbox.
	Left bool `json:"left,omitempty"`
}

// matches reports whether id is the message's, or the start or end of it.
func (s *sentEntry) matches(id string) bool {
	return strings.HasPrefix(s.MessageID, id) || strings.HasSuffix(s.MessageID, id)
}

// rememberSent adds a message to the list that `status <TAB>` offers. Errors don't matter: the
// message is sent in any case.
func (a *app) rememberSent(s sentEntry) {
	lock, err := peer.LockConfig(context.Background(), a.dir) // it has a time limit of its own
	if err != nil {
		return
	}
	defer lock.Unlock()
	list := append(sentBefore(a.dir), s)
	b, err := json.Marshal(list[max(0, len(list)-maxSent):])
	if err == nil {
		_ = a.dir.WriteFile(sentName, b)
	}
}

// sentBefore returns the remembered messages, oldest first.
func sentBefore(dir peer.Dir) (list []sentEntry) {
	b, err := os.ReadFile(dir.Path(sentName))
	if err != nil || json.Unmarshal(b, &list) != nil {
		return nil
	}
	return list
}

func sentMessages(_ context.Context, a *app) (found []cobra.Completion) {
	m, err := a.joined()
	if err != nil {
		return nil
	}
	for _, s := range slices.Backward(sentBefore(a.dir)) {
		if s.MeshID == m.MeshID && len(found) < maxMessages {
			found = append(found, described(peer.ShortID(s.MessageID), "to "+s.To))
		}
	}
	return found
}

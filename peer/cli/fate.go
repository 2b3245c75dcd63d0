package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// fate is the status of a message, from the broker and, if the daemon sent the message,
// from the daemon.
type fate struct {
	wire.MessageStatusResult
	ClientID string                  `json:"clientMessageId,omitempty"`
	State    local.State             `json:"state,omitempty"`
	Reason   string                  `json:"reason,omitempty"`
	Receipts []local.RecipientStatus `json:"receipts,omitempty"` // signed by recipients

	// For a message that the broker doesn't have yet.
	to    string
	since time.Time
}

// fate asks the daemon, if one runs, and then the broker. Only the daemon knows about a
// message that the broker doesn't have yet.
func (a *app) fate(ctx context.Context, id string) (*fate, error) {
	m, err := a.joined()
	if err != nil {
		return nil, err
	}
	f := &fate{}
	s, err := a.askDaemon(ctx, id)
	var refusal *local.Error
	if err != nil && !errors.As(err, &refusal) && a.leftWithDaemon(m.MeshID, id) {
		return nil, fmt.Errorf("status of %s: the message is with the daemon: %w; start the daemon with `claudemesh daemon up`, and it goes on sending", id, err)
	}
	if err == nil && s.MeshID == m.MeshID {
		f.ClientID, f.State, f.Reason, f.to, f.since = s.ID, s.State, s.Reason, s.To, s.SentAt
		f.Receipts = receipts(&s)
		if id = s.MessageID; id == "" {
			f.MessageStatusResult = wire.MessageStatusResult{Type: wire.TypeMessageStatusResult, TargetSpec: s.Target, Recipients: []wire.RecipientStatus{}}
			return f, nil
		}
	}
	client, _, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	f.MessageStatusResult, err = client.MessageStatus(ctx, id)
	f.Recipients = nonNil(f.Recipients)
	return f, refusedFor("status of", id, "give the id of a message that you have sent, as send prints it", err)
}

// leftWithDaemon reports whether an earlier send left the message with the daemon.
func (a *app) leftWithDaemon(meshID, id string) bool {
	return slices.ContainsFunc(sentBefore(a.dir), func(s sentEntry) bool {
		return s.MeshID == meshID && s.Left && (strings.HasPrefix(s.MessageID, id) || strings.HasSuffix(s.MessageID, id))
	})
}

// rows returns the table that status prints.
func (f *fate) rows(now time.Time) [][]string {
	rows := [][]string{{"RECIPIENT", "KEY", "STATUS", "SINCE"}}
	if f.State == local.Waiting || f.State == local.Failed {
		status := "waiting on this machine for the broker"
		if f.State == local.Failed {
			status = "failed: the broker refuses it"
		}
		if f.Reason != "" {
			status += " (" + f.Reason + ")"
		}
		return append(rows, []string{f.to, "", status, timeText(f.since, now)})
	}
	for i := range f.Recipients {
		r := &f.Recipients[i]
		since := ""
		if r.At != nil {
			since = timeText(r.At.Time, now)
		}
		status := r.Status
		if s := f.signed(r.Pubkey); s != nil && s.State == local.InContext {
			status, since = "read", timeText(s.At, now)
		} else if s != nil && s.State == local.Refused {
			status, since = "refused by the recipient ("+s.Reason+")", timeText(s.At, now)
		} else if r.CannotRead != "" {
			status += ", can't read messages (" + r.CannotRead + ")"
		}
		rows = append(rows, []string{r.Name, r.Pubkey.Short(), status, since})
	}
	return rows
}

// signed returns the receipt of a recipient, or nil. A message to a member is signed by one
// of its sessions, under another key; so a single recipient matches any receipt.
func (f *fate) signed(key wire.Key) *local.RecipientStatus {
	for i := range f.Receipts {
		if len(f.Recipients) == 1 || f.Receipts[i].Key == key {
			return &f.Receipts[i]
		}
	}
	return nil
}

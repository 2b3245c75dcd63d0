package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// forgottenText describes local.Forgotten.
const forgottenText = "the broker no longer knows this message: either it was restored from a backup, or it has deleted the message because of its age; " +
	"it is not known whether the message has arrived; send it again if the recipient has not answered"

// notRememberedText follows the broker's word that it does not know a message.
var notRememberedText = fmt.Sprintf("nor does this machine, which remembers the last %d messages that it has sent: either no message of yours has this id (send prints it), or "+
	"the broker no longer knows the message, because it was restored from a backup or has deleted the message because of its age; "+
	"then it is not known whether the message has arrived", maxSent)

// fate is the status of a message, from the broker and, if the daemon sent the message,
// from the daemon.
type fate struct {
	wire.MessageStatusResult
	ClientID string                  `json:"clientMessageId,omitempty"`
	State    local.State             `json:"state,omitempty"`
	Reason   string                  `json:"reason,omitempty"`
	Receipts []local.RecipientStatus `json:"receipts,omitempty"` // signed by recipients

	// For a message that the broker doesn't know.
	to    string
	since time.Time // zero if not known
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
	known := err == nil && s.MeshID == m.MeshID
	if known {
		f.ClientID, f.State, f.Reason, f.to, f.since = s.ID, s.State, s.Reason, s.To, s.SentAt
		f.Receipts = receipts(&s)
		if id = s.MessageID; id == "" {
			f.MessageStatusResult = withoutBroker(&s)
			return f, nil
		}
	}
	client, _, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	f.MessageStatusResult, err = client.MessageStatus(ctx, id)
	if peer.IsNotFound(err) && !known {
		if sent := a.sentAtOnce(m.MeshID, id); sent != nil {
			known, f.to, s = true, sent.To, local.MessageStatus{MessageID: sent.MessageID}
			f.MessageStatusResult, err = client.MessageStatus(ctx, sent.MessageID) // many ids may share the given part
		}
	}
	if peer.IsNotFound(err) && known {
		if f.State == "" || f.State == local.Queued {
			f.State = local.Forgotten
		}
		f.MessageStatusResult, err = withoutBroker(&s), nil
	}
	f.Recipients = nonNil(f.Recipients)
	return f, refusedFor("status of", id, notRememberedText, err)
}

// withoutBroker returns what is known of a message that the broker doesn't know.
func withoutBroker(s *local.MessageStatus) wire.MessageStatusResult {
	r := wire.MessageStatusResult{
		Type: wire.TypeMessageStatusResult, MessageID: s.MessageID, TargetSpec: s.Target,
		Delivered: s.State == local.Delivered || s.State == local.InContext, Recipients: []wire.RecipientStatus{},
	}
	for _, signed := range receipts(s) {
		r.Recipients = append(r.Recipients, wire.RecipientStatus{
			Name: signed.Name, Pubkey: signed.Key, Status: wire.RecipientDelivered, At: &wire.Time{Time: signed.At}, CannotRead: signed.CannotRead,
		})
	}
	return r
}

// sentAtOnce returns the remembered message that was sent without the daemon and has the id or
// the part of an id. It returns nil if there is none, or more than one.
func (a *app) sentAtOnce(meshID, id string) (found *sentEntry) {
	for _, s := range sentBefore(a.dir) {
		if s.MeshID != meshID || s.Left || !s.matches(id) {
			continue
		}
		if found != nil {
			return nil
		}
		found = &s
	}
	return found
}

// leftWithDaemon reports whether an earlier send left the message with the daemon.
func (a *app) leftWithDaemon(meshID, id string) bool {
	return slices.ContainsFunc(sentBefore(a.dir), func(s sentEntry) bool {
		return s.MeshID == meshID && s.Left && s.matches(id)
	})
}

// rows returns the table that status prints.
func (f *fate) rows(now time.Time) [][]string {
	rows := [][]string{{"RECIPIENT", "KEY", "STATUS", "SINCE"}}
	if len(f.Recipients) == 0 && f.State != "" {
		status, since := string(f.State), ""
		switch f.State {
		case local.Waiting:
			status = "waiting on this machine for the broker"
		case local.Failed:
			status = "failed: the broker refuses it"
		case local.Forgotten:
			status = "forgotten by the broker"
		}
		if f.Reason != "" {
			status += " (" + f.Reason + ")"
		}
		if !f.since.IsZero() {
			since = timeText(f.since, now)
		}
		return append(rows, []string{f.to, "", status, since})
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
		} else {
			status = explained(status, "", r.CannotRead)
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

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// byDaemonHint is the last part of what send reports while it waits for the broker.
func (a *app) byDaemonHint() string {
	if a.daemonless {
		return ""
	}
	return "; with --no-wait the daemon keeps the message and sends it later"
}

// byDaemon reports whether the daemon sends the message. Only the daemon has an outbox and
// gets the receipts that recipients sign.
func (f *sendFlags) byDaemon() bool { return f.noWait || f.wait == waitRead }

// sendByDaemon leaves the message with the daemon, which sends it as the member. With
// --wait read it also waits for the recipient's receipt.
func (a *app) sendByDaemon(ctx context.Context, to, body string, f *sendFlags) error {
	if a.daemonless {
		return unsent(daemon.ErrNoDaemon)
	}
	w := a.waiting("leaving the message with the daemon")
	defer w.done()
	m, err := a.joined()
	if err != nil {
		return unsent(err)
	}
	s, err := a.handOver(ctx, local.Send{To: to, Text: body, Priority: wire.Priority(f.priority), ReplyTo: f.replyTo, Mesh: m.MeshID, ClientID: uuid.NewString()})
	if err != nil {
		return err
	}
	a.rememberSent(sentEntry{MeshID: m.MeshID, MessageID: s.ID, To: s.To, Left: true})
	if s.Verified != nil && !*s.Verified {
		fmt.Fprintf(a.err, "warning: %s is %s\n", oneLine(s.To), notVerified(s.Doubt))
	}
	out := sent{MessageID: s.MessageID, ClientID: s.ID, State: s.State, Note: s.Note, Verified: s.Verified, Doubt: s.Doubt}
	if f.noWait {
		return a.printLeft(&out, s.To, f)
	}
	status, err := a.awaitRead(ctx, w, &s, time.Duration(f.timeout))
	if err != nil {
		return err
	}
	w.done()
	out.MessageID, out.State, out.Note = status.MessageID, status.State, status.Reason
	out.Delivered = status.State == local.Delivered || status.State == local.InContext
	out.Receipts = receipts(&status)
	if err := a.printLeft(&out, s.To, f); err != nil {
		return err
	}
	switch status.State {
	case local.InContext:
		return nil
	case local.Expired, local.Refused, local.Failed, local.Forgotten:
		return errReported
	}
	goesOn := copyable("`claudemesh status " + peer.ShortID(s.ID) + "` shows its state")
	fmt.Fprintf(a.err, "claudemesh: not read within %s%s; %s\n", f.timeout.String(), whyUnread(&status), goesOn)
	return exitStatus(exitLate)
}

// handOver hands a message to the daemon.
func (a *app) handOver(ctx context.Context, m local.Send) (s local.Sent, err error) {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	client, err := local.Owner(a.dir)
	if err == nil {
		err = client.Call(ctx, local.VerbMemberSend, m, &s)
	}
	var refusal *local.Error
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, local.ErrNotRunning):
		return s, unsent(errors.New("--no-wait and --wait read need the daemon, and it isn't running; start it with `claudemesh daemon up`"))
	case errors.As(err, &refusal) && refusal.Code != local.CodeInternal:
		return s, unsent(err)
	}
	return s, &fateError{fmt.Sprintf("the daemon may or may not have taken the message (%s); run `claudemesh status %s` to find out", explain(err), peer.ShortID(m.ClientID)), err}
}

// printLeft prints the state of a message that the daemon sends.
func (a *app) printLeft(out *sent, to string, f *sendFlags) error {
	var err error
	if f.json {
		out.Recipients = nonNil(out.Recipients)
		err = a.printJSON(out)
	} else {
		text := stateText(out.State, to)
		if out.Note != "" {
			text += "; " + oneLine(out.Note)
		}
		_, err = fmt.Fprintf(a.out, "%s  %s\n", oneLine(peer.ShortID(out.ClientID)), text)
	}
	if err != nil {
		return sentUnprinted("the daemon", out.ClientID, err)
	}
	return nil
}

// stateText describes the state of a message that the daemon sends.
func stateText(s local.State, to string) string {
	to = oneLine(to)
	switch s {
	case local.Waiting:
		return "kept for " + to + " on this machine"
	case local.Queued:
		return "accepted for " + to
	case local.Delivered:
		return "delivered to " + to
	case local.InContext:
		return "read by " + to
	case local.Expired:
		return "expired: " + to + " did not fetch it in time"
	case local.Refused:
		return "refused by " + to
	case local.Failed:
		return "not sent to " + to + ": the broker refuses it"
	case local.Forgotten:
		return "sent to " + to + ", but " + forgottenText
	}
	return oneLine(string(s)) + ", to " + to
}

// whyUnread says why no receipt has come: the recipient can't read the message for now, or
// its client doesn't sign receipts.
func whyUnread(s *local.MessageStatus) string {
	for i := range s.Recipients {
		if r := &s.Recipients[i]; r.CannotRead != "" {
			return "; " + oneLine(daemon.CannotRead(r.Name, r.CannotRead))
		}
	}
	if s.State == local.Delivered && len(receipts(s)) == 0 {
		return "; the recipient has not signed a receipt (`claudemesh inbox` without a daemon and clients of protocol v1 never sign one)"
	}
	return ""
}

// receipts returns the statuses that their recipients have signed.
func receipts(s *local.MessageStatus) (signed []local.RecipientStatus) {
	for _, r := range s.Recipients {
		if r.Signed {
			signed = append(signed, r)
		}
	}
	return signed
}

// awaitRead polls the daemon until the message is read, expired, refused or forgotten, or until
// the timeout. The daemon may be replaced in the meantime.
func (a *app) awaitRead(ctx context.Context, w *progress, s *local.Sent, timeout time.Duration) (local.MessageStatus, error) {
	begin := time.Now()
	status := local.MessageStatus{ID: s.ID, MessageID: s.MessageID, To: s.To, State: s.State, Reason: s.Note}
	told := local.State("")
	for {
		now, err := a.askDaemon(ctx, s.ID)
		if err == nil {
			status = now
		}
		left := timeout - time.Since(begin)
		switch {
		case ctx.Err() != nil:
			return status, &fateError{fmt.Sprintf("interrupted; the daemon has the message %s and still sends it: `claudemesh status %[1]s` shows its state", peer.ShortID(s.ID)), ctx.Err()}
		case slices.Contains([]local.State{local.InContext, local.Expired, local.Refused, local.Failed, local.Forgotten}, status.State), left <= 0:
			return status, nil
		}
		if status.State != told {
			told = status.State
			w.next(stateText(told, s.To) + "; waiting until it is read, and Ctrl-C only stops waiting")
		}
		if err != nil {
			w.because("the daemon doesn't answer: " + err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(pollPause(begin), left)):
		}
	}
}

// askDaemon asks the daemon for the status of a message that it sends for the member.
func (a *app) askDaemon(ctx context.Context, id string) (s local.MessageStatus, err error) {
	client, err := local.Owner(a.dir)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	return s, client.Call(ctx, local.VerbMemberMessageStatus, local.MessageQuery{ID: id}, &s)
}

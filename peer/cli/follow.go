package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// statusWait is how long send waits for delivery before it reports "queued".
	statusWait = time.Second
	statusPoll = 50 * time.Millisecond
	// slowPoll is the polling interval of --wait after statusWait.
	slowPoll = time.Second

	waitDelivered, waitRead = "delivered", "read" // values of --wait
)

// follow returns the status of a message; see awaitDelivery. known is false if the broker
// doesn't report it. That is not an error, unless the broker no longer knows the message: send
// only promises that the broker has the message.
func (a *app) follow(ctx context.Context, client *peer.Client, id string, f *sendFlags) (status wire.MessageStatusResult, known bool, err error) {
	status, err = awaitDelivery(ctx, client, id, f)
	switch {
	case err == nil:
		return status, true, nil
	case peer.IsNotFound(err):
		return status, false, err
	case ctx.Err() != nil:
		short := peer.ShortID(id)
		return status, false, &fateError{fmt.Sprintf("interrupted; the broker has the message %s and delivers it: `claudemesh status %[1]s` shows its state", short), ctx.Err()}
	}
	fmt.Fprintln(a.err, "The broker has the message, but can't report its status:", printable(explain(err)))
	return status, false, nil
}

// awaitDelivery polls the status of the message. Without --wait it stops after statusWait, or
// earlier if no delivery is likely soon. With --wait it stops after --timeout, or earlier if
// the status is final or the broker no longer knows the message.
func awaitDelivery(ctx context.Context, client *peer.Client, id string, f *sendFlags) (wire.MessageStatusResult, error) {
	begin, limit := time.Now(), statusWait
	if f.wait != "" {
		limit = time.Duration(f.timeout)
	}
	for {
		status, err := client.MessageStatus(ctx, id)
		left := limit - time.Since(begin)
		switch {
		case ctx.Err() != nil:
			return status, ctx.Err()
		case left <= 0, err == nil && settled(&status), peer.IsNotFound(err):
			return status, err
		case f.wait == "" && (err != nil || anyAway(&status) && noneHeld(&status)):
			return status, err
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(min(pollPause(begin), left)):
		}
	}
}

// pollPause returns the polling interval of a wait that began at begin.
func pollPause(begin time.Time) time.Duration {
	if time.Since(begin) > statusWait {
		return slowPoll
	}
	return statusPoll
}

// settled reports whether the status of every recipient is final.
func settled(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if r := &s.Recipients[i]; r.Status != wire.RecipientDelivered && (r.State == "" || r.State == wire.StatePending) {
			return false
		}
	}
	return true
}

// outcome returns the error that stands for the exit code of send.
func (a *app) outcome(f *sendFlags, known bool, s *wire.MessageStatusResult) error {
	switch {
	case known && len(s.Recipients) == 0: // some brokers accept a message that reaches nobody
		return errReported
	case f.wait == "" || known && s.Delivered:
		return nil
	case known && settled(s):
		return errReported
	}
	fmt.Fprintf(a.err, "claudemesh: not delivered to everybody within %s; the broker keeps trying\n", f.timeout.String())
	return exitStatus(exitLate)
}

func anyAway(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if s.Recipients[i].Status == wire.RecipientDisconnected {
			return true
		}
	}
	return len(s.Recipients) == 0
}

// noneHeld reports whether the broker holds the message back for none of the recipients.
func noneHeld(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if s.Recipients[i].Status == wire.RecipientHeld {
			return false
		}
	}
	return true
}

// promise says what happens to the message.
func promise(name string, known bool, s *wire.MessageStatusResult) string {
	name = oneLine(name)
	if !known {
		return "accepted for " + name
	}
	var delivered, held, absent, lost []string
	for i := range s.Recipients {
		r := &s.Recipients[i]
		switch r.Status {
		case wire.RecipientDelivered:
			delivered = append(delivered, oneLine(r.Name))
		case wire.RecipientHeld:
			held = append(held, oneLine(r.Name))
		default:
			switch r.State {
			case wire.StateUnopened: // the receipt says why
			case "", wire.StatePending:
				absent = append(absent, oneLine(r.Name))
			default:
				lost = append(lost, oneLine(r.Name))
			}
		}
	}
	if len(s.Recipients) == 0 {
		return "nobody gets it: there was no recipient"
	}
	var parts []string
	if len(delivered) > 0 {
		parts = append(parts, "delivered to "+names(delivered))
	}
	if len(held) > 0 {
		parts = append(parts, "queued for "+names(held)+" (busy): it will be delivered when they are free")
	}
	if len(absent) > 0 {
		parts = append(parts, "queued for "+names(absent)+" (away): it will be delivered when they return")
	}
	if len(lost) > 0 {
		parts = append(parts, "not delivered to "+names(lost)+": they can't get it any more")
	}
	if len(parts) == 0 {
		parts = append(parts, "accepted")
	}
	for i := range s.Recipients {
		if r := &s.Recipients[i]; r.CannotRead != "" {
			parts = append(parts, "but "+oneLine(daemon.CannotRead(r.Name, r.CannotRead)))
		}
	}
	return strings.Join(parts, "; ")
}

// names lists up to five names.
func names(list []string) string {
	if len(list) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:4], ", "), len(list)-4)
	}
	return strings.Join(list, ", ")
}

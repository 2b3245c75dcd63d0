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
	// statusWait is how long send waits for the recipient before it says "queued".
	statusWait = time.Second
	statusPoll = 50 * time.Millisecond
	// slowPoll is the pause of --wait after statusWait.
	slowPoll = time.Second

	waitDelivered, waitRead = "delivered", "read" // of --wait
)

// follow tells how far a message came: see awaitDelivery. known is false when the broker
// does not tell; what send promises is that the broker has the message.
func (a *app) follow(ctx context.Context, client *peer.Client, id string, f *sendFlags) (status wire.MessageStatusResult, known bool, err error) {
	status, err = awaitDelivery(ctx, client, id, f)
	switch {
	case err == nil:
		return status, true, nil
	case ctx.Err() != nil:
		short := peer.ShortID(id)
		return status, false, &fateError{fmt.Sprintf("interrupted; the broker has the message %s and delivers it: `claudemesh status %[1]s` tells how far it came", short), ctx.Err()}
	}
	fmt.Fprintln(a.err, "The message is accepted, but how far it came is not known:", printable(explain(err)))
	return status, false, nil
}

// awaitDelivery asks how far the message came: for statusWait, or until nothing more is to
// be expected soon; with --wait for --timeout, or until nothing will change any more.
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
		case left <= 0, err == nil && settled(&status):
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

// pollPause is the pause between two questions of a wait that began then.
func pollPause(begin time.Time) time.Duration {
	if time.Since(begin) > statusWait {
		return slowPoll
	}
	return statusPoll
}

// settled reports whether nothing about the message will change any more.
func settled(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if r := &s.Recipients[i]; r.Status != wire.RecipientDelivered && (r.State == "" || r.State == wire.StatePending) {
			return false
		}
	}
	return true
}

// outcome is the exit code of send, as an error: what came of the message.
func (a *app) outcome(f *sendFlags, known bool, s *wire.MessageStatusResult) error {
	switch {
	case known && len(s.Recipients) == 0: // of a broker that does not refuse it
		return errReported
	case f.wait == "" || known && s.Delivered:
		return nil
	case known && settled(s):
		return errReported
	}
	fmt.Fprintf(a.err, "claudemesh: not delivered to everybody within %s; the broker goes on delivering\n", f.timeout.String())
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

// noneHeld reports whether no recipient will get the message right now.
func noneHeld(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if s.Recipients[i].Status == wire.RecipientHeld {
			return false
		}
	}
	return true
}

// promise says what will become of the message.
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
		return "nobody was there to get it, and nobody will"
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
		parts = append(parts, "not for "+names(lost)+", who can't get it any more")
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

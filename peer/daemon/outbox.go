package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/wire"
)

// storeRetry is the pause after the store fails.
const storeRetry = 5 * time.Second

// outboxLoop sends the waiting messages in order.
func (l *line) outboxLoop(ctx context.Context, client *peer.Client) {
	for ctx.Err() == nil {
		next, err := l.d.store.NextMessage(ctx, l.name.mesh, l.name.session)
		switch {
		case errors.Is(err, store.ErrNoMessage):
			if !waitFor(ctx, l.outboxKick) {
				return
			}
		case err != nil:
			l.storeFailed(ctx, err)
		default:
			l.sendNext(ctx, client, &next)
		}
	}
}

// sendNext sends one message to the broker, however long that takes. After a temporary failure
// it pauses, and outboxLoop calls it again.
func (l *line) sendNext(ctx context.Context, client *peer.Client, next *store.Message) {
	target, err := wire.ParseTarget(next.Target)
	if err != nil {
		l.sendFailed(next, err.Error())
		return
	}
	receipt, err := client.Send(ctx, peer.Outgoing{
		To: []wire.Target{target}, Body: []byte(next.Body), Priority: next.Priority, ReplyTo: next.ReplyTo, ClientID: next.ID,
		MustReach: true,
	})
	var refused *peer.RefusedError
	var tooLong *peer.TooLongError
	switch {
	case err == nil:
		if err := l.d.store.Queued(l.d.writeContext(), next.ID, receipt.MessageID, cut(receipt.Unreached(), maxReason)); err != nil {
			l.storeFailed(ctx, err) // the message is sent again, and the broker recognizes it
			return
		}
		l.d.messageMoved(next.ID)
		kick(l.progress)
	case lineOver(ctx, err):
		waitFor(ctx, nil) // another line sends it
	case receipt.MessageID != "": // send all copies again; the broker recognizes those it has
		l.log.Warn("some copies of a message were not sent; retrying", "id", next.ID, "error", err)
		pause(ctx, storeRetry)
	case errors.As(err, &tooLong):
		l.sendFailed(next, tooLong.Error())
	case errors.As(err, &refused) && !refused.Final:
		l.log.Warn("broker refused a message for now; retrying", "id", next.ID, "reason", refused.Code)
	case errors.As(err, &refused):
		l.sendFailed(next, l.whyRefused(&target, refused))
	default:
		l.sendFailed(next, err.Error())
	}
}

// whyRefused returns why the broker refuses a message for good. For a group that does not
// exist, it also suggests a name.
func (l *line) whyRefused(target *wire.Target, refused *peer.RefusedError) string {
	if target.Kind == wire.TargetKey || refused.Code != wire.AckTargetNotFound {
		return refused.Reason
	}
	peers, members, _ := l.joined.roster.last()
	nobody := peer.ReachesNobodyError{Target: peer.TargetText(*target), Reason: refused.Reason}
	nobody.Meant = peer.Meant(nobody.Target, peers, members)
	return nobody.Error()
}

// lineOver reports whether err means that the line is ending, rather than that the message has
// a problem.
func lineOver(ctx context.Context, err error) bool {
	var hello *peer.HelloError
	var closed *peer.ClosedError
	return ctx.Err() != nil || errors.Is(err, peer.ErrClosed) || errors.As(err, &hello) || errors.As(err, &closed)
}

func (l *line) sendFailed(next *store.Message, reason string) {
	l.log.Warn("message failed", "id", next.ID, "reason", reason)
	if err := l.d.store.Failed(l.d.writeContext(), next.ID, cut(reason, maxReason)); err != nil {
		l.storeFailed(l.ctx, err)
		return
	}
	l.d.messageMoved(next.ID)
	kick(l.progress)
}

// maxReason is how many bytes of a broker's or recipient's reason the daemon keeps.
const maxReason = 300

func (l *line) storeFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	l.log.Error("daemon's store failed; retrying", "error", err)
	pause(ctx, storeRetry)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// waitFor waits for a kick. It returns false if ctx ends first.
func waitFor(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// messageMoved wakes the caller that waits for news of a message.
func (d *daemon) messageMoved(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.awaited[id]; c != nil {
		kick(c)
	}
}

// await returns a channel that gets a kick when there is news of a message, until the caller
// calls done. Only one caller at a time can wait for a message. A second caller replaces the
// first, which then waits until its own timeout.
func (d *daemon) await(id string) (news <-chan struct{}, done func()) {
	c := make(chan struct{}, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.awaited[id] = c
	return c, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.awaited[id] == c {
			delete(d.awaited, id)
		}
	}
}

package broker

import (
	"sync"

	"github.com/claudemesh/claudemesh/wire"
)

// ackLimit is how many sends of one connection may wait for their ack; then the
// connection is not read until some have theirs.
const ackLimit = 1024

// ackLine sends the acks of one connection in the order of its sends, whatever the order
// in which their fates are decided.
type ackLine struct {
	out   *outbox
	slots chan struct{} // one token per send that waits

	mu      sync.Mutex
	waiting []*ackSlot
}

type ackSlot struct {
	ack     wire.Ack
	decided bool
}

func newAckLine(out *outbox) ackLine {
	return ackLine{out: out, slots: make(chan struct{}, ackLimit)}
}

// enter takes the next place in the line. It blocks while too many sends wait, and returns
// nil if the connection ends meanwhile.
func (l *ackLine) enter(id, reqID string, gone <-chan struct{}) *ackSlot {
	select {
	case l.slots <- struct{}{}:
	case <-gone:
		return nil
	}
	s := &ackSlot{ack: wire.Ack{ID: id, ReqID: reqID}}
	l.mu.Lock()
	l.waiting = append(l.waiting, s)
	l.mu.Unlock()
	return s
}

// decide sets the ack of a place, and sends all decided acks at the front of the line.
func (l *ackLine) decide(s *ackSlot, messageID string, refusal string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.ack.MessageID, s.ack.Queued, s.ack.Error = messageID, refusal == "", refusal
	if refusal != "" {
		s.ack.Unopened, s.ack.MoreUnopened = nil, 0
	}
	s.decided = true
	for len(l.waiting) > 0 && l.waiting[0].decided {
		l.out.add(l.waiting[0].ack.AppendJSON(nil))
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		<-l.slots
	}
	if len(l.waiting) == 0 {
		l.waiting = nil
	}
}

package broker

import "github.com/claudemesh/claudemesh/wire"

// clientAck settles a push. It has no answer unless it is malformed.
func (c *conn) clientAck(frame *wire.Frame) {
	a, err := wire.DecodeClientAck(frame)
	if err != nil {
		c.sendError(wire.CodeInvalid, err.Error(), frame.ReqID)
		c.fine(priceFrame)
		return
	}
	if !c.settle(&a) {
		c.fine(priceFrame)
	}
}

// settle reports whether an acknowledgement means a push that waits for one.
func (c *conn) settle(a *wire.ClientAck) bool {
	if c.present == nil || a.ClientID == "" && a.BrokerID == "" {
		return false
	}
	id, err := wire.ParseID(a.BrokerID)
	if err != nil {
		id, _ = wire.ParseID(a.ClientID) // a client without the message's own id names ours
	}
	r, q := c.room, c.broker.queue
	r.mu.RLock()
	own := r.mailboxLocked(c.present)
	r.mu.RUnlock()
	// By the broker's id in all of them before by the client's in any: that may be in
	// use in several.
	for _, clientID := range [...]string{"", a.ClientID} {
		if q.Acknowledge(own, c, id, clientID) {
			return true
		}
		for _, box := range c.others {
			if q.Acknowledge(box, c, id, clientID) {
				return true
			}
		}
	}
	return false
}

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

// settle reports whether an acknowledgement belongs to a push in flight.
func (c *conn) settle(a *wire.ClientAck) bool {
	if c.present == nil || a.ClientID == "" && a.BrokerID == "" {
		return false
	}
	id, err := wire.ParseID(a.BrokerID)
	if err != nil {
		id, _ = wire.ParseID(a.ClientID) // a client may send our id in this field
	}
	r, q := c.room, c.broker.queue
	r.mu.RLock()
	own := r.mailboxLocked(c.present)
	r.mu.RUnlock()
	// Look for the broker's id first, in all mailboxes: the client's id may occur in several.
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

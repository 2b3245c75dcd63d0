package daemon

import (
	"errors"
	"strings"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
)

// serveMemberSend sends a message from the member over the member's own connection.
func (d *daemon) serveMemberSend(c *call) error {
	var in local.Send
	if err := c.decode(&in); err != nil {
		return err
	}
	if err := checkSend(&in); err != nil {
		return err
	}
	if in.To == "" {
		return invalid("no recipient given")
	}
	if in.ClientID == "" {
		in.ClientID = uuid.NewString()
	}
	j := d.joinedMesh(in.Mesh)
	if j == nil { // the user may just have joined it
		d.lookAtConfig()
		j = d.joinedMesh(in.Mesh)
	}
	if j == nil {
		return notFound("the daemon does not serve the mesh %q; `claudemesh daemon logs` shows why", in.Mesh)
	}
	to, err := j.control.resolve(c.ctx, strings.TrimSpace(in.To))
	if err != nil {
		return forOwner(err)
	}
	return c.post(j.control, &in, &to, func() {}) // nobody counts what a person sends
}

// lookAtConfig is reloadConfigLocked for callers that don't hold changes.
func (d *daemon) lookAtConfig() {
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.ctx.Err() == nil {
		d.reloadConfigLocked()
	}
}

// forOwner words the errors about an unknown recipient or a changed key for the user at a
// command line. refuse words them for a model.
func forOwner(err error) error {
	var nobody *peer.NobodyError
	var changed *inbox.ChangedKeyError
	switch {
	case errors.As(err, &nobody):
		return notFound("%v", nobody)
	case errors.As(err, &changed) && changed.Unproven:
		return refused("%v; to send anyway, give a whole key as the recipient", changed)
	case errors.As(err, &changed):
		return refused("%v; `%s` shows both keys", changed, changed.Command())
	}
	return err
}

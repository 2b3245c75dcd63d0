package checkpoints

import (
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/audit"
)

// Text says in plain words what was found, in one line.
func Text(c *audit.Comparison) string {
	switch c.Outcome {
	case audit.Begun:
		return fmt.Sprintf("the audit log has %s; this machine notices if they change from now on", entries(c.To))
	case audit.Extended:
		return fmt.Sprintf("the audit log still begins with the %s of the kept checkpoint", entries(c.From))
	case audit.Pruned:
		return fmt.Sprintf("the broker has deleted old entries of the audit log, among them number %d of the kept checkpoint, which therefore can't be compared", c.From)
	case audit.Restored:
		return fmt.Sprintf("the broker's operator has restored a backup at %s: the audit log went back from %s to %s, and goes on from there",
			c.Restore.At.Local().Format(time.DateTime), entries(c.From), entries(c.Restore.Head.Seq))
	case audit.Forked:
		return fmt.Sprintf("the broker has rewritten the audit log: it has signed two different logs of %s", entries(c.From))
	case audit.RolledBack:
		return fmt.Sprintf("the audit log was cut off or set back: it had %s and now has %d", entries(c.From), c.To)
	case audit.KeyChanged:
		return "another key signs the audit log: the broker was replaced, or somebody stands in its place"
	case audit.Unproven:
		return fmt.Sprintf("the broker does not show that its audit log of %s begins with the %s of the kept checkpoint (%s)", entries(c.To), entries(c.From), c.Reason)
	}
	return "a checkpoint of the audit log is not valid: " + c.Reason
}

// Notes returns the two notes that contradict each other, for people to compare and to pass on.
func Notes(c *audit.Comparison) string {
	return "The checkpoint that this machine has kept:\n\n" + c.Kept + "\nThe one that the broker shows:\n\n" + c.Shown
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

package queue

import "fmt"

// mailboxState says who, if anybody, gets what is in a mailbox, and how. The package
// comment has a diagram.
type mailboxState uint8

const (
	away      mailboxState = iota // nobody is attached
	upToDate                      // everything that may be pushed has been
	behind                        // older deliveries wait in the store, and nobody reads them
	reading                       // a drain reads them
	abandoned                     // nobody is attached any more, and the drain has not noticed yet
	dropped                       // the queue has forgotten the mailbox: get another
)

var stateNames = [...]string{"away", "up to date", "behind", "reading", "abandoned", "dropped"}

func (s mailboxState) String() string { return stateNames[s] }

// attached reports whether a mailbox in this state has an outlet.
func (s mailboxState) attached() bool { return s == upToDate || s == behind || s == reading }

// nextStates are the states that may follow each state.
var nextStates = [...][]mailboxState{
	away:      {behind, dropped},
	upToDate:  {behind, away},
	behind:    {reading, away},
	reading:   {upToDate, behind, abandoned},
	abandoned: {reading, away},
	dropped:   {},
}

// becomeLocked goes to another state. A transition that does not exist is a mistake in
// this package: going on could lose messages or their order, so it panics.
func (b *mailbox) becomeLocked(next mailboxState) {
	for _, s := range nextStates[b.state] {
		if s == next {
			b.state = next
			return
		}
	}
	panic(fmt.Sprintf("queue: mailbox %s can't go from %s to %s", b.addr.Name, b.state, next))
}

// gate says which messages a recipient's status lets through, and whether the store may
// hold others that wait for it to open.
type gate uint8

const (
	open    gate = iota // every message passes
	shut                // only priority now passes; nothing waits
	holding             // only priority now passes; others may wait in the store
)

func (g gate) urgentOnly() bool { return g != open }

// hold notes that something may wait, if the gate is not open.
func (g *gate) hold() {
	if *g == shut {
		*g = holding
	}
}

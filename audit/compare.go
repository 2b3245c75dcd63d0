package audit

import (
	"slices"

	"github.com/claudemesh/claudemesh/wire"
)

// Kept is what a client keeps of a mesh's log: notes that it has verified. The zero Kept
// belongs to a client that has seen nothing.
type Kept struct {
	Verifier   string   `json:"verifier,omitempty"`   // the first verifier key that the broker showed
	Checkpoint string   `json:"checkpoint,omitempty"` // the newest checkpoint of the log
	Restores   []string `json:"restores,omitempty"`   // announcements shown before: they explain nothing new
}

// MaxRestores is the largest number of announcements that a broker shows and a client keeps:
// the newest.
const MaxRestores = 16

// Head returns the kept head; zero if nothing is kept. The error is ErrBadNote.
func (k *Kept) Head(meshID wire.ID) (Head, error) {
	if k.Checkpoint == "" {
		return Head{}, nil
	}
	return OpenCheckpoint(k.Verifier, meshID, k.Checkpoint)
}

// Outcome says what a client learns when a broker shows it checkpoints.
type Outcome string

// The outcomes. After the first four, the client keeps what the broker has shown. After the
// others, it keeps what it has.
const (
	Begun      Outcome = "begun"       // the client had kept nothing
	Extended   Outcome = "extended"    // the log begins with what the client has kept
	Pruned     Outcome = "pruned"      // the broker has deleted the entries that the client could compare
	Restored   Outcome = "restored"    // the log lost entries, and a new announcement explains that
	Forked     Outcome = "forked"      // two heads of one size
	RolledBack Outcome = "rolled_back" // fewer entries than before
	KeyChanged Outcome = "key_changed" // another verifier key
	Unproven   Outcome = "unproven"    // the broker doesn't show the head of the kept size
	Invalid    Outcome = "invalid"     // an invalid note: see ErrBadNote
)

// OK reports whether the client may trust the log after the outcome.
func (o Outcome) OK() bool {
	return o == Begun || o == Extended || o == Pruned || o == Restored
}

// Comparison is what Compare finds.
type Comparison struct {
	Outcome Outcome  `json:"outcome"`
	Kept    string   `json:"kept,omitempty"`  // the checkpoint that the client has kept
	Shown   string   `json:"shown,omitempty"` // the note that the broker has shown instead
	From    int64    `json:"from"`            // size of Kept
	To      int64    `json:"to"`              // size of Shown
	Reason  string   `json:"reason,omitempty"`
	Restore *Restore `json:"restore,omitempty"` // what was announced, if the outcome is Restored
}

// Compare compares the checkpoints that a broker shows with those that the client has kept,
// and returns what the client keeps from now on.
func (k Kept) Compare(meshID wire.ID, shown *wire.Checkpoints) (Comparison, Kept) {
	c := Comparison{Kept: k.Checkpoint, Shown: shown.Newest}
	old, err := k.Head(meshID)
	if err != nil {
		return c.invalid(err), k
	}
	c.From = old.Seq
	verifier := k.Verifier
	if verifier == "" {
		verifier = shown.Verifier
	}
	if shown.Verifier != verifier {
		c.Outcome, c.Reason = KeyChanged, "the key was "+verifier+" and is "+shown.Verifier
		return c, k
	}
	newest, err := OpenCheckpoint(verifier, meshID, shown.Newest)
	if err != nil {
		return c.invalid(err), k
	}
	c.To = newest.Seq
	switch {
	case k.Checkpoint == "":
		c.Outcome = Begun
	case newest.Seq < old.Seq:
		c.Outcome = RolledBack
	case newest.Seq == old.Seq && newest == old:
		c.Outcome = Extended
	case newest.Seq == old.Seq:
		c.Outcome = Forked
	default:
		c.extends(meshID, verifier, old, shown)
	}
	if !c.Outcome.OK() {
		c.explain(meshID, verifier, newest, &k, shown.Restores)
	}
	if !c.Outcome.OK() {
		return c, k
	}
	return c, Kept{Verifier: verifier, Checkpoint: shown.Newest, Restores: k.merged(meshID, verifier, shown.Restores)}
}

func (c Comparison) invalid(err error) Comparison {
	c.Outcome, c.Reason = Invalid, err.Error()
	return c
}

// extends checks that a longer log begins with the kept one. The broker proves that with a
// checkpoint of the kept size; if it has deleted the entry of that size, it shows a
// checkpoint of where its entries begin.
func (c *Comparison) extends(meshID wire.ID, verifier string, old Head, shown *wire.Checkpoints) {
	if old.Seq == 0 { // every log begins with the empty one
		c.Outcome = Extended
		return
	}
	if pruned, err := OpenCheckpoint(verifier, meshID, shown.Pruned); err == nil && pruned.Seq > old.Seq && shown.Kept == "" {
		c.Outcome = Pruned
		return
	}
	then, err := OpenCheckpoint(verifier, meshID, shown.Kept)
	switch {
	case err != nil:
		c.Outcome, c.Reason = Unproven, err.Error()
	case then.Seq != old.Seq:
		c.Outcome, c.Reason = Unproven, "the broker shows a checkpoint of another size"
	case then != old:
		c.Outcome, c.Shown, c.To = Forked, shown.Kept, then.Seq
	default:
		c.Outcome = Extended
	}
}

// explain looks for the announcement of a restore that the client has not seen, and that
// explains why the log is not the kept one.
func (c *Comparison) explain(meshID wire.ID, verifier string, newest Head, k *Kept, announced []string) {
	for _, signed := range announced {
		r, err := OpenRestore(verifier, meshID, signed)
		if err != nil || slices.Contains(k.Restores, signed) || r.Head.Seq >= c.From || r.Head.Seq > newest.Seq {
			continue
		}
		if c.Restore == nil || r.Head.Seq < c.Restore.Head.Seq {
			c.Outcome, c.Reason, c.Restore = Restored, "", &r
		}
	}
}

// merged returns the announcements that were shown before or are shown now.
func (k *Kept) merged(meshID wire.ID, verifier string, shown []string) []string {
	list := slices.Clone(k.Restores)
	for _, signed := range shown {
		if _, err := OpenRestore(verifier, meshID, signed); err == nil && !slices.Contains(list, signed) {
			list = append(list, signed)
		}
	}
	return list[max(0, len(list)-MaxRestores):]
}

//go:build !unix

package sqlite

// owner stands for the user whose files are to be written, which is always this one.
type owner struct{}

func ownerOf(string) owner { return owner{} }

func (owner) give(string) error { return nil }

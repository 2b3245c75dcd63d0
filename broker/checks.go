package broker

// checks are places for those who check signatures: for half of the processors. Else all
// hellos of thousands who come at once would be served before the next message of others,
// since Go looks for what has arrived only when nothing else is left to do.
type checks chan struct{}

// do calls check as soon as there is a place.
func (c checks) do(check func() error) error {
	c <- struct{}{}
	defer func() { <-c }()
	return check()
}

package broker

// checks bounds how many goroutines check signatures at a time, to half of the processors.
// Otherwise the hellos of thousands of clients that come at once would all be served before
// the next message of anybody else: Go looks for what has arrived on sockets only when
// nothing else is left to do.
type checks chan struct{}

// do calls check as soon as there is a place.
func (c checks) do(check func() error) error {
	c <- struct{}{}
	defer func() { <-c }()
	return check()
}

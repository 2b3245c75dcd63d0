package broker

// checks bounds how many goroutines check signatures at a time, to half of the processors.
// Otherwise, when thousands of clients arrive at once, all of their hellos would be served
// before the next message: Go polls sockets only when it has nothing else to run.
type checks chan struct{}

// do calls check as soon as there is a place.
func (c checks) do(check func() error) error {
	c <- struct{}{}
	defer func() { <-c }()
	return check()
}

package cluster

import (
	"context"
	"net"
	"testing"

	"go.uber.org/zap"
)

// late is a listener that accepts its connection when the relay is closing.
type late struct {
	net.Listener
	close func()
	conn  *recorded
}

func (l *late) Accept() (net.Conn, error) {
	l.close()
	return l.conn, nil
}

// recorded is a connection that notes its end.
type recorded struct {
	net.Conn
	closed bool
}

func (r *recorded) Close() error {
	r.closed = true
	return nil
}

// TestLateConnectionIsClosed checks that no connection stays open that comes as the relay closes.
func TestLateConnectionIsClosed(t *testing.T) {
	t.Parallel()
	life, end := context.WithCancel(t.Context())
	conn := &recorded{}
	(&listener{Listener: &late{close: end, conn: conn}, life: life, log: zap.NewNop()}).run()
	if !conn.closed {
		t.Error("the connection is open")
	}
}

package cluster

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// idleBuffer is what a relayed socket keeps for reading while nothing comes. More is
	// borrowed while more comes.
	idleBuffer = 2 << 10
	busyBuffer = frameBytes
	// borrowFor is how long the larger buffer is kept while nothing comes.
	borrowFor = time.Second
	// clientPatience is how long a client may take to read what was written to it.
	clientPatience = 30 * time.Second
)

var busyBuffers = sync.Pool{New: func() any { return new([busyBuffer]byte) }}

// splice passes bytes between a client's socket and the owner of its mesh. When one of the two
// ends, it closes the other, and returns.
func splice(client, owner net.Conn) {
	var up sync.WaitGroup
	up.Go(func() {
		upload(owner, client)
		_ = owner.Close() // the client's bytes have ended: so does its connection
	})
	_, _ = io.Copy(patient{client}, owner) // smux has no buffer of its own for this
	_ = client.Close()
	_ = owner.Close()
	up.Wait()
}

// upload copies what a client sends.
func upload(to io.Writer, from net.Conn) {
	var small [idleBuffer]byte
	for {
		n, err := from.Read(small[:])
		if n > 0 {
			if _, err := to.Write(small[:n]); err != nil {
				return
			}
		}
		if err == nil && n == len(small) {
			err = uploadMore(to, from)
		}
		if err != nil {
			return
		}
	}
}

// uploadMore copies with a larger buffer, until a read does not fill it.
func uploadMore(to io.Writer, from net.Conn) error {
	buffer := busyBuffers.Get().(*[busyBuffer]byte)
	defer busyBuffers.Put(buffer)
	for {
		if err := from.SetReadDeadline(time.Now().Add(borrowFor)); err != nil {
			return err
		}
		n, err := from.Read(buffer[:])
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		if err != nil {
			return err
		}
		if n < len(buffer) {
			return from.SetReadDeadline(time.Time{})
		}
	}
}

// patient writes to a client that may be slow, but not for ever.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(clientPatience)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

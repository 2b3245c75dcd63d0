package broker

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// outboxBytes is how much may wait to be written before the connection's own
	// requests are no longer read. Pushes are bounded by the queue's window.
	outboxBytes = 1 << 20
	// outboxNews is how many system pushes may wait. They are news, not messages:
	// the oldest make room for the newest.
	outboxNews = 256
	// writeTimeout is how long one frame may take to be written.
	writeTimeout = 30 * time.Second
)

// outbox is the write side of a connection. Its goroutine exists only while there
// is something to write, so that an idle connection costs none.
type outbox struct {
	ws   *websocket.Conn
	fail func() // called when the peer reads too slowly or not at all

	mu      sync.Mutex
	frames  []outFrame
	bytes   int
	news    int
	writing bool
	closing *closeFrame   // to be written after the frames
	closed  bool          // nothing is taken any more
	room    chan struct{} // closed, and replaced, when bytes falls below the limit
}

type outFrame struct {
	data []byte
	news bool
}

type closeFrame struct {
	code   websocket.StatusCode
	reason string
}

// add queues a frame that must be sent.
func (o *outbox) add(data []byte) { o.put(outFrame{data, false}) }

// addNews queues a frame that may give way to newer ones.
func (o *outbox) addNews(data []byte) { o.put(outFrame{data, true}) }

func (o *outbox) put(f outFrame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if f.news {
		if o.news == outboxNews || o.bytes > outboxBytes {
			o.dropOldestNews()
		}
		o.news++
	}
	o.frames = append(o.frames, f)
	o.bytes += len(f.data)
	o.start()
}

func (o *outbox) dropOldestNews() {
	for i, f := range o.frames {
		if f.news {
			o.frames = append(o.frames[:i], o.frames[i+1:]...)
			o.bytes -= len(f.data)
			o.news--
			return
		}
	}
}

// finish queues a close frame behind everything else; nothing is taken after it.
func (o *outbox) finish(code int, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	o.closing = &closeFrame{websocket.StatusCode(code), reason}
	o.start()
}

// flushed reports whether everything that was queued has been written.
func (o *outbox) flushed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.writing
}

// discard lets go of everything.
func (o *outbox) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.frames, o.bytes, o.news, o.closing = nil, 0, 0, nil
	o.wakeLocked()
}

func (o *outbox) start() {
	if !o.writing {
		o.writing = true
		go o.write()
	}
}

// write sends until there is nothing left.
func (o *outbox) write() {
	for {
		o.mu.Lock()
		if len(o.frames) == 0 {
			end := o.closing
			o.closing = nil
			o.frames = nil // an idle connection keeps no buffer
			o.writing = end != nil
			o.mu.Unlock()
			if end != nil {
				_ = o.ws.Close(end.code, end.reason)
			}
			return
		}
		f := o.frames[0]
		o.frames[0] = outFrame{}
		o.frames = o.frames[1:]
		o.bytes -= len(f.data)
		if f.news {
			o.news--
		}
		if o.bytes <= outboxBytes {
			o.wakeLocked()
		}
		o.mu.Unlock()

		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		err := o.ws.Write(ctx, websocket.MessageText, f.data)
		cancel()
		if err != nil {
			o.discard()
			o.fail()
			return
		}
	}
}

// waitRoom blocks while too much waits to be written.
func (o *outbox) waitRoom() {
	for {
		o.mu.Lock()
		if o.closed || o.bytes <= outboxBytes {
			o.mu.Unlock()
			return
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		<-room
	}
}

func (o *outbox) wakeLocked() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

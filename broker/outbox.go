package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	// outboxBytes is how much may wait to be written before the connection is no longer
	// read. The queue's window bounds pushes.
	outboxBytes = 1 << 20
	// batchBytes is how much is written at once, except for larger frames.
	batchBytes = 16 << 10
	// writeTimeout is how long one write may take.
	writeTimeout = 30 * time.Second
)

// outbox is the write side of a connection. Its goroutine exists only while there
// is something to write, so that an idle connection costs none.
type outbox struct {
	ws     *websocket.Conn
	socket *socket // below ws
	fail   func()  // called when the peer reads too slowly or not at all
	// holdPushes reports whether messages must wait for release; see Broker.holdPushes.
	holdPushes func() bool

	mu      sync.Mutex
	frames  []outFrame
	held    []outFrame    // pushes, which come before those of frames
	bytes   int           // without news, whose frames all connections share
	news    int           // how many of the frames are news
	reduced int           // news left by the last reduction
	answers int           // bytes of answers that have not been written
	unread  *atomic.Int64 // the same of all connections of a member; nil: not known yet
	pings   bool
	writing bool
	ended   sync.WaitGroup // counts the writing goroutine; to be waited for when closed
	delayed *time.Timer    // starts the writing of news; nil: there are none, or it has begun
	closing *closeFrame    // to be written after the frames
	closed  bool           // no more frames are taken
	room    chan struct{}  // closed, and replaced, when bytes falls below the limit
}

type outFrame struct {
	data []byte
	kind frameKind
	news *event // of frameNews
}

type frameKind uint8

const (
	frameAnswer frameKind = iota // and all else that the peer's own frames have caused
	framePush                    // of a message, bounded by the window
	frameNews                    // may give way to newer ones
	framePing                    // pingFrame, not a message
)

type closeFrame struct {
	code   websocket.StatusCode
	reason string
}

// add queues a frame that must be sent.
func (o *outbox) add(data []byte) { o.put(outFrame{data: data, kind: frameAnswer}) }

// addPush queues a message.
func (o *outbox) addPush(data []byte) { o.put(outFrame{data: data, kind: framePush}) }

// bill counts waiting answers in a member's account too.
func (o *outbox) bill(unread *atomic.Int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unread = unread
	unread.Add(int64(o.answers))
}

// oweLocked adds to the bytes of answers that wait.
func (o *outbox) oweLocked(bytes int) {
	bytes = max(bytes, -o.answers) // a discarded frame may have been written nevertheless
	o.answers += bytes
	if o.unread != nil {
		o.unread.Add(int64(bytes))
	}
}

func (o *outbox) put(f outFrame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.frames = append(o.frames, f)
	o.bytes += len(f.data)
	if f.kind == frameAnswer {
		o.oweLocked(len(f.data))
	}
	o.startLocked()
}

// addNews queues an event. Beyond newsLimit, the news about each presence are reduced to their
// net effect, so that the number of waiting news stays near the number of presences.
func (o *outbox) addNews(e *event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.frames = append(o.frames, outFrame{e.frame, frameNews, e})
	if o.news++; o.news >= max(newsLimit, 2*o.reduced) {
		before := len(o.frames)
		o.frames = reduce(o.frames, func(f outFrame) *event { return f.news })
		o.news -= before - len(o.frames)
		o.reduced = o.news
	}
	switch {
	case o.news >= newsLimit/2:
		o.startLocked()
	case !o.writing && o.delayed == nil:
		o.delayed = time.AfterFunc(newsDelay, o.startDelayed)
	}
}

// ping asks the peer for a sign of life.
func (o *outbox) ping() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.pings = true
		o.startLocked()
	}
}

// finish queues a close frame behind everything else. No frames are taken after it.
func (o *outbox) finish(code int, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	o.closing = &closeFrame{websocket.StatusCode(code), reason}
	o.startLocked()
}

// close makes the outbox take no more frames, and waits until those that it has are written.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.ended.Wait()
}

// flushed reports whether everything that was queued has been written, except news that wait
// for more.
func (o *outbox) flushed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.writing && len(o.held) == 0
}

// holdLocked moves the pushes from frames to held if they must be held. Otherwise it puts the held
// ones back, before everything that came later.
func (o *outbox) holdLocked() {
	if !o.holdPushes() {
		if len(o.held) > 0 {
			o.frames, o.held = append(o.held, o.frames...), nil
		}
		return
	}
	rest := o.frames[:0]
	for _, f := range o.frames {
		if f.kind == framePush {
			o.held = append(o.held, f)
		} else {
			rest = append(rest, f)
		}
	}
	clear(o.frames[len(rest):])
	o.frames = rest
}

// release writes the pushes that were held.
func (o *outbox) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed && len(o.held) > 0 {
		o.startLocked()
	}
}

// size returns how many bytes wait to be written.
func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// discard drops everything.
func (o *outbox) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.frames, o.held, o.bytes, o.news, o.closing = nil, nil, 0, 0, nil
	o.oweLocked(-o.answers)
	o.undelayLocked()
	o.wakeLocked()
}

// startLocked starts to write, unless a write is under way.
func (o *outbox) startLocked() {
	o.undelayLocked()
	if !o.writing {
		o.writing = true
		o.ended.Add(1)
		go o.write()
	}
}

func (o *outbox) startDelayed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) > 0 {
		o.startLocked()
	}
}

func (o *outbox) undelayLocked() {
	if o.delayed != nil {
		o.delayed.Stop()
		o.delayed = nil
	}
}

// write sends until there is nothing left.
func (o *outbox) write() {
	defer o.ended.Done()
	var batch []outFrame
	for {
		batch = o.take(batch)
		if len(batch) == 0 {
			return
		}
		if err := o.send(batch); err != nil {
			o.discard()
			return
		}
		o.written(batch)
	}
}

// written records that the connection has taken what was sent.
func (o *outbox) written(batch []outFrame) {
	bytes := 0
	for _, f := range batch {
		if f.kind == frameAnswer {
			bytes += len(f.data)
		}
	}
	if bytes > 0 {
		o.mu.Lock()
		o.oweLocked(-bytes)
		o.mu.Unlock()
	}
}

// take moves what is to be written next to batch, whose array it reuses. If there is nothing, it
// writes the close frame, if one is due, and returns nil: the writing is over.
func (o *outbox) take(batch []outFrame) []outFrame {
	clear(batch)
	batch = batch[:0]
	o.mu.Lock()
	if len(o.frames)+len(o.held) > 0 {
		o.holdLocked()
	}
	if o.pings {
		o.pings = false
		batch = append(batch, outFrame{kind: framePing})
	} else if len(o.frames) == 0 {
		end := o.closing
		o.closing = nil
		o.frames, o.reduced = nil, 0 // an idle connection keeps no buffer
		o.writing = end != nil
		o.mu.Unlock()
		if end != nil {
			_ = o.ws.Close(end.code, end.reason)
		}
		return nil
	}
	defer o.mu.Unlock()
	size, taken := 0, 0
	for _, f := range o.frames {
		if size += len(f.data); size > batchBytes && taken > 0 {
			break
		}
		batch = append(batch, f)
		taken++
		if f.kind == frameNews {
			o.news--
		} else {
			o.bytes -= len(f.data)
		}
	}
	clear(o.frames[:taken])
	o.frames = o.frames[taken:]
	if o.bytes <= outboxBytes {
		o.wakeLocked()
	}
	return batch
}

// send writes frames together. It needs no context: only flush waits for the peer. A frame is
// not taken if the connection is about to end; the reader then ends it, after it has answered
// the peer's close frame.
func (o *outbox) send(batch []outFrame) error {
	o.socket.hold()
	var err error
	for i := 0; i < len(batch) && err == nil; i++ {
		if batch[i].kind == framePing {
			_, err = o.socket.Write(pingFrame)
		} else {
			err = o.ws.Write(context.Background(), websocket.MessageText, batch[i].data)
		}
	}
	if broken := o.socket.flush(writeTimeout); broken != nil {
		o.fail()
		return broken
	}
	return err
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

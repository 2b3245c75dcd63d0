package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// sayAfter is how long a command waits for something before it says for what.
const sayAfter = time.Second

// progress says on standard error what a command waits for: once that has taken sayAfter,
// and again when something about it changes. With --quiet or --json it says nothing.
type progress struct {
	a *app

	mu     sync.Mutex
	timer  *time.Timer
	due    bool // sayAfter is over
	step   string
	reason string
	said   string
}

// waiting begins to wait for a step, in words that go on "claudemesh: …". The command ends
// it with done.
func (a *app) waiting(step string) *progress {
	p := &progress{a: a, step: step}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(sayAfter, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.due = true
		p.sayLocked()
	})
	return p
}

// next says what is waited for now.
func (p *progress) next(step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step, p.reason = step, ""
	p.sayLocked()
}

// because gives the reason why it takes so long; it may come from others.
func (p *progress) because(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reason = reason
	p.sayLocked()
}

// done ends it. Nothing is said after that.
func (p *progress) done() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = false
}

func (p *progress) sayLocked() {
	text := p.step
	if p.reason != "" {
		text += " (" + oneLine(p.reason) + ")"
	}
	if !p.due || p.a.quiet || text == p.said || text == "" {
		return
	}
	p.said = text
	fmt.Fprintln(p.a.err, "claudemesh:", text)
}

// oneAtATime is a writer for several goroutines, as a file is by itself.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

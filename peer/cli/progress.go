package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// sayAfter is how long a command waits silently before it reports what it waits for.
const sayAfter = time.Second

// progress reports on standard error what a command waits for, after sayAfter and then after
// each change. With --quiet or --json it prints nothing.
type progress struct {
	a *app

	mu     sync.Mutex
	timer  *time.Timer
	due    bool // sayAfter has passed
	ended  bool
	step   string
	reason string
	said   string
}

// waiting starts to report a step; its text follows "claudemesh: ". The command must call
// done.
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

// next reports the next step.
func (p *progress) next(step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step, p.reason = step, ""
	p.sayLocked()
}

// because adds a reason why the step takes so long. The text may come from others.
func (p *progress) because(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reason = reason
	p.sayLocked()
}

// done ends the reports. A call of the timer's function that has begun prints nothing more.
func (p *progress) done() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}

func (p *progress) sayLocked() {
	text := p.step
	if p.reason != "" {
		text += " (" + oneLine(p.reason) + ")"
	}
	if !p.due || p.ended || p.a.quiet || text == p.said || text == "" {
		return
	}
	p.said = text
	fmt.Fprintln(p.a.err, "claudemesh:", text)
}

// oneAtATime is a writer that several goroutines can share. A file needs no lock.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

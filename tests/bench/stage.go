package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// stage is the test that the helpers of the tests are told they are in. What they call
// of it is defined here; there is no other method that could be called. As with a test,
// Fatal is for the goroutine that has the stage.
type stage struct {
	testing.TB // nil
	ctx        context.Context

	mu       sync.Mutex
	cleanups []func()
	problems []string
}

// broken is the panic of a Fatal.
type broken struct{ text string }

// perform calls f with a stage, cleans up behind it, and returns what went wrong.
func perform(ctx context.Context, f func(*stage)) (problems []string) {
	s := &stage{ctx: ctx}
	defer func() { problems = s.problems }()
	defer s.clean()
	s.guard(func() { f(s) })
	return nil
}

// guard calls f and keeps what a Fatal in it says.
func (s *stage) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			b, ok := p.(broken)
			if !ok {
				panic(p)
			}
			s.note(b.text)
		}
	}()
	f()
}

func (s *stage) clean() {
	for {
		s.mu.Lock()
		if len(s.cleanups) == 0 {
			s.mu.Unlock()
			return
		}
		last := s.cleanups[len(s.cleanups)-1]
		s.cleanups = s.cleanups[:len(s.cleanups)-1]
		s.mu.Unlock()
		s.guard(last)
	}
}

func (s *stage) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text = strings.TrimSpace(text); !slices.Contains(s.problems, text) {
		s.problems = append(s.problems, text)
	}
}

// check ends the probe when there is an error.
func (s *stage) check(doing string, err error) {
	if err != nil {
		s.Fatalf("%s: %v", doing, err)
	}
}

// Helper does nothing: there are no lines to point at.
func (s *stage) Helper() {}

// Cleanup has f called in the end, the last one first.
func (s *stage) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

// Context ends when the runner is told to.
func (s *stage) Context() context.Context { return s.ctx }

// Failed reports whether something has gone wrong.
func (s *stage) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.problems) > 0
}

// Fatal ends the probe.
func (s *stage) Fatal(args ...any) { panic(broken{fmt.Sprintln(args...)}) }

// Fatalf ends the probe.
func (s *stage) Fatalf(format string, args ...any) { panic(broken{fmt.Sprintf(format, args...)}) }

// Error notes what went wrong and goes on.
func (s *stage) Error(args ...any) { s.note(fmt.Sprintln(args...)) }

// Errorf notes what went wrong and goes on.
func (s *stage) Errorf(format string, args ...any) { s.note(fmt.Sprintf(format, args...)) }

// Logf tells who runs this more about what went wrong; it is not for the report.
func (s *stage) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

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

// stage is a testing.TB for the tests' helpers. It implements only the methods that they call.
// As in a test, only the goroutine that runs the stage may call Fatal.
type stage struct {
	testing.TB // nil
	ctx        context.Context

	mu       sync.Mutex
	cleanups []func()
	problems []string
}

// broken is the panic value of Fatal.
type broken struct{ text string }

// perform calls f with a stage, cleans up after it, and returns what went wrong.
func perform(ctx context.Context, f func(*stage)) (problems []string) {
	s := &stage{ctx: ctx}
	defer func() { problems = s.problems }()
	defer s.clean()
	s.guard(func() { f(s) })
	return nil
}

// guard calls f and records the message if f calls Fatal.
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

// check ends the probe if err is not nil.
func (s *stage) check(doing string, err error) {
	if err != nil {
		s.Fatalf("%s: %v", doing, err)
	}
}

// Helper does nothing: the stage reports no line numbers.
func (s *stage) Helper() {}

// Cleanup registers f to be called when the stage ends, in reverse order.
func (s *stage) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

// Context returns a context that ends when the program is interrupted.
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

// Error records what went wrong and continues.
func (s *stage) Error(args ...any) { s.note(fmt.Sprintln(args...)) }

// Errorf records what went wrong and continues.
func (s *stage) Errorf(format string, args ...any) { s.note(fmt.Sprintf(format, args...)) }

// Logf prints details of a problem to standard error. They don't go into the report.
func (s *stage) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

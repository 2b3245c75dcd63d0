package daemon

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// writeGrace is how long the program may take to write the latest events of the
	// conversation to disk.
	writeGrace = time.Second
	// doubtAfter is when messages become unread again if nothing shows what happened to them.
	doubtAfter = 20 * time.Second
	// leaveGrace is how long a process may take to end after leaving its session.
	leaveGrace = 5 * time.Second
)

// take is a call that handed out messages when the daemon does not yet know whether they
// reached the context. Only the conversation on disk can prove it: after the answer, the user
// may still stop the model, and the process may still be killed.
type take struct {
	session, toolUse string
	at               time.Time  // of the call, or of the daemon's start if that was later
	process          process.ID // the caller's; zero if the call is older than the daemon

	// guarded by takes.mu
	transcript string    // "" if unknown
	ended      time.Time // when its batch of tools ended; zero if it has not
}

// takes holds the open takes.
type takes struct {
	judging sync.Mutex // held while judging, so that each take is decided once

	mu   sync.Mutex
	open []*take // oldest first
}

func (ts *takes) add(t *take) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open = slices.DeleteFunc(ts.open, func(o *take) bool { return o.session == t.session && o.toolUse == t.toolUse })
	ts.open = append(ts.open, t)
}

func (ts *takes) remove(t *take) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open = slices.DeleteFunc(ts.open, func(o *take) bool { return o == t })
}

// of returns the open takes of a session, or all if session is "".
func (ts *takes) of(session string) []*take {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(ts.open), func(t *take) bool { return session != "" && t.session != session })
}

// note records what a session's hook reports about its calls.
func (ts *takes) note(session, transcript string, ended []string, now time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.open {
		if t.session != session {
			continue
		}
		if transcript != "" {
			t.transcript = transcript
		}
		if t.ended.IsZero() && slices.Contains(ended, t.toolUse) {
			t.ended = now
		}
	}
}

func (ts *takes) state(t *take) (transcript string, ended time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return t.transcript, t.ended
}

// occasion is the reason for judging takes.
type occasion int

const (
	byTheClock occasion = iota
	newTurn             // the previous turn has ended
	leaving             // the process left the session but may write until it ends
	farewell            // no process writes to the conversation any more
)

// handedOut opens a take for the call.
func (d *daemon) handedOut(c *call, toolUse string, messages int) {
	if messages == 0 {
		return
	}
	t := &take{session: c.s.id, toolUse: toolUse, at: time.Now(), process: c.id, transcript: c.s.transcriptPath()}
	d.takes.add(t)
}

// transcriptPath returns the file of the conversation that the last hook reported.
func (s *session) transcriptPath() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transcript
}

// recallTakes opens the takes that an earlier daemon left undecided. Their time begins anew,
// because this daemon doesn't know yet what the sessions are doing.
func (d *daemon) recallTakes() error {
	list, err := d.inbox.Taken(d.writeContext())
	for _, t := range list {
		d.takes.add(&take{session: t.Session, toolUse: t.ToolUse, at: time.Now()})
	}
	return err
}

// judgeTakes decides as many takes of a session as it can, or of all sessions if session is "".
// It returns how many stay open.
func (d *daemon) judgeTakes(session string, why occasion) (open int, err error) {
	d.takes.judging.Lock()
	defer d.takes.judging.Unlock()
	var errs []error
	for _, t := range d.takes.of(session) {
		decided, err := d.judge(t, why, time.Now())
		if err != nil {
			errs = append(errs, err)
		}
		if decided && err == nil {
			d.takes.remove(t)
		} else { // the next call tries again what could not be stored
			open++
		}
	}
	return open, errors.Join(errs...)
}

// judge decides a take if it can. Messages that the conversation shows are in the context.
// Messages that it should show but does not are unread. If the conversation stays inconclusive,
// its messages become unread too, with the mark that the model may have seen them.
func (d *daemon) judge(t *take, why occasion, now time.Time) (decided bool, err error) {
	list, err := d.inbox.TakenBy(d.writeContext(), t.session, t.toolUse)
	if err != nil || len(list) == 0 {
		return err == nil, err
	}
	transcript, ended := d.takes.state(t)
	said := d.conversation(t, transcript, list)
	s := d.session(t.session)
	if why == byTheClock && t.over(s) {
		why = farewell
	}
	hasEnded := !ended.IsZero()
	switch {
	case said.Known:
		shown := func(m *inbox.Stored) bool { return slices.Contains(said.Shown, m.MessageID) }
		return true, d.settle(t, shown, false)
	case hasEnded && !said.Kept && (why == farewell || now.Sub(ended) > writeGrace):
		// The program keeps no conversation, so the end of the batch is the best evidence there
		// will be.
		return true, d.settle(t, everything, false)
	case why == farewell, why == newTurn && !hasEnded:
		return true, d.settle(t, nothing, true)
	case why == leaving:
		return false, nil
	case !hasEnded && said.Kept && s.heardOf() && s.restsSince(now.Add(-writeGrace)) && now.Sub(t.at) > writeGrace,
		now.Sub(t.at) > d.o.doubtAfter && s.restsSince(now.Add(-writeGrace)):
		// If the conversation is never conclusive, the model must not read the same messages
		// forever. Once two finished batches have handed out a message, it counts as read.
		again := func(m *inbox.Stored) bool { return hasEnded && m.MaybeSeen }
		return true, d.settle(t, again, true)
	}
	return false, nil
}

func everything(*inbox.Stored) bool { return true }
func nothing(*inbox.Stored) bool    { return false }

// conversation asks the program what the conversation shows about the call.
func (d *daemon) conversation(t *take, transcript string, list []inbox.Stored) Answered {
	if d.o.Host == nil {
		return Answered{}
	}
	call := Call{SessionID: t.session, ToolUse: t.toolUse, Transcript: transcript}
	if s := d.session(t.session); s != nil {
		call.ConfigDir = s.snapshot().ConfigDir
	}
	for i := range list {
		call.Messages = append(call.Messages, list[i].MessageID)
	}
	return d.o.Host.Conversation(call)
}

// over reports whether the calling process has ended.
func (t *take) over(s *session) bool {
	if t.process == (process.ID{}) || !t.process.Seen() {
		return s == nil
	}
	return !t.process.Alive()
}

// settle confirms the messages that shown selects and makes the others unread.
func (d *daemon) settle(t *take, shown func(*inbox.Stored) bool, maybeSeen bool) error {
	now := time.Now()
	tell := func(list []inbox.Stored) error { return d.inContext(list, now) }
	if err := d.inbox.ConfirmTaken(d.writeContext(), t.session, t.toolUse, shown, tell, now); err != nil {
		return err
	}
	released, err := d.inbox.ReleaseTaken(d.writeContext(), t.session, t.toolUse, maybeSeen)
	if err != nil || len(released) == 0 {
		return err
	}
	d.log.Info("messages that were handed out are unread again", "session", t.session, "messages", len(released), "maybeSeen", maybeSeen)
	s := d.session(t.session)
	if s != nil {
		err = s.lookForMail()
	}
	if s != nil && !maybeSeen {
		// The user stopped the model here, so the daemon does not wake it again at once.
		for i := range released {
			s.desk.Hush(released[i].ID)
		}
	}
	d.kickAllMail()
	return err
}

// restsSince reports whether the session has been idle since t. A session that has ended counts
// as idle.
func (s *session) restsSince(t time.Time) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Status == wire.Idle && !s.state.since.After(t)
}

// heardOf reports whether a hook or the program has told what the session is doing since the daemon
// started. A session that has ended does nothing.
func (s *session) heardOf() bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.state.sign.IsZero()
}

// followTakes checks for a short time whether the program writes its latest events to disk.
func (s *session) followTakes() {
	const looks, pause = 10, 100 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for range looks {
		open, err := s.d.judgeTakes(s.id, byTheClock)
		if err != nil {
			s.d.log.Error("find out whether messages reached the context", "session", s.id, "error", err)
		}
		if open == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// awaitTakes waits until all takes of a session are decided after its last process left.
func (s *session) awaitTakes(last process.ID) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(leaveGrace); len(s.d.takes.of(s.id)) > 0; {
		why := leaving
		if time.Now().After(deadline) || !last.Alive() {
			why = farewell
		}
		open, err := s.d.judgeTakes(s.id, why)
		if err != nil {
			s.d.log.Error("find out whether messages reached the context", "session", s.id, "error", err)
		}
		if open == 0 || why == farewell {
			return
		}
		select {
		case <-tick.C:
		case <-s.d.ctx.Done():
			return // the next daemon decides
		}
	}
}

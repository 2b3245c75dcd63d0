package daemon

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// restore connects the sessions whose processes are still alive.
func (d *daemon) restore() error {
	d.changes.Lock()
	defer d.changes.Unlock()
	list, err := d.store.Sessions(d.writeContext())
	if err != nil {
		return err
	}
	processes, err := d.store.Processes(d.writeContext())
	if err != nil {
		return err
	}
	byID := make(map[string]*session, len(list))
	for i := range list {
		s := d.newSessionLocked(list[i])
		s.reach.earlier = true
		byID[list[i].ID] = s
	}
	d.mu.Lock()
	for i := range processes {
		p := &proc{Process: processes[i], session: byID[processes[i].SessionID], since: time.Now()}
		p.signs.hooked(p.since, d.o.returnLimit)
		d.procs[p.Number] = p
		d.tokens[sha256.Sum256([]byte(p.Token))] = p
		d.sessions[p.SessionID] = p.session
	}
	d.mu.Unlock()
	if err := d.restoreEarlier(); err != nil {
		return err
	}
	var errs []error
	for _, p := range d.allProcesses() {
		if d.over(p) {
			errs = append(errs, d.departLocked(p))
		}
	}
	errs = append(errs, d.finishHandOversLocked())
	errs = append(errs, d.recallTakes())
	d.reloadConfigLocked() // connects
	return errors.Join(errs...)
}

// restoreEarlier restores the sessions that each process ran earlier.
func (d *daemon) restoreEarlier() error {
	list, err := d.store.EarlierSessions(d.writeContext())
	for i := range list {
		s := d.newSessionLocked(list[i].Session)
		s.over()
		s.desk.Close()
		d.mu.Lock()
		if p := d.procs[list[i].Process]; p != nil {
			p.runBeforeLocked(s)
		}
		d.mu.Unlock()
	}
	return err
}

// finishHandOversLocked completes the hand-overs that a crash or an error interrupted. A
// session that has returned since then keeps its own messages. The caller holds changes.
func (d *daemon) finishHandOversLocked() error {
	list, err := d.store.Handovers(d.writeContext())
	if err != nil {
		return err
	}
	for _, h := range list {
		if d.session(h.From) != nil {
			err = d.store.HandedOver(d.writeContext(), h.From)
		} else {
			err = d.handOver(h.From, h.To)
		}
		if err != nil {
			return fmt.Errorf("hand over the mail of a cleared session: %w", err)
		}
	}
	return nil
}

// retryHandOversLocked tries again what inheritLocked could not do, for example because the disk was
// full. The caller holds changes.
func (d *daemon) retryHandOversLocked() {
	if !d.unfinished || d.finishHandOversLocked() != nil { // inheritLocked has logged the error
		return
	}
	d.unfinished = false
	d.log.Info("handed over the mail of cleared sessions")
	d.kickAllMail()
}

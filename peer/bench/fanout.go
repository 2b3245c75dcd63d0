package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// guestLife is how long the invite for the sender of a fanout is valid.
const guestLife = 10 * time.Minute

// fanout sends messages one after the other to a group of sessions, and measures when the first,
// the median and the last recipient get each.
func (r *run) fanout() error {
	n := r.settings.Recipients
	r.group = fmt.Sprintf("@bench-%08x", r.id)
	if err := r.add(n, &r.config.Mesh, wire.Group{Name: r.group[1:]}); err != nil {
		return err
	}
	sender := r.config.Sender
	if sender.Member.IsZero() {
		guest, remove, err := r.invite()
		if err != nil {
			return err
		}
		r.afterwards = remove
		sender = guest
	}
	if err := r.add(1, &sender); err != nil {
		return err
	}
	if r.settings.Crypto && r.config.Mesh.Key.IsZero() {
		return errors.New("bench fanout: the config has no mesh key, which is needed to seal messages to groups")
	}
	s := r.sessions[n]
	version := 0
	if r.settings.Crypto {
		version = wire.BodyMesh
	}
	s.draft = newDraft(r.settings.Size, r.group, version)
	var rounds rounds
	r.onArrival = func(_ *session, place int, now time.Duration) { rounds.arrival(place, now) }
	if err := r.connectAll(); err != nil {
		return err
	}
	from := r.begin("sending")
	for round := 0; round < r.settings.Messages && r.ctx.Err() == nil && r.over.Err() == nil; round++ {
		if err := r.broadcast(s, r.sessions[:n], &rounds, round); err != nil {
			return err
		}
	}
	r.tally(from)
	rounds.add(r.result, n)
	return nil
}

// broadcast sends one message to all recipients and waits until all have it, or until the timeout.
func (r *run) broadcast(s *session, to []*session, rounds *rounds, round int) error {
	rounds.begin(len(to))
	for _, recipient := range to {
		recipient.ledger.add(0)
		recipient.ledger.acknowledge(round, false) // only the sender's ledger waits for the broker's answer
	}
	r.unsettled.Add(int64(len(to)))
	ctx, cancel := context.WithTimeout(r.ctx, time.Duration(r.settings.Timeout))
	defer cancel()
	r.bounded(ctx, 0, func() {
		rounds.start(round, r.now())
		s.send(-1)
	})
	if s.ledger.receive(round, 0).settled { // the sender itself doesn't get the message
		r.settle(s)
	}
	r.drain(ctx)
	if r.refused.Load() > 0 {
		return fmt.Errorf("%s", r.troubles.explained()[0])
	}
	return nil
}

// rounds records when the deliveries of each broadcast arrived.
type rounds struct {
	mu   sync.Mutex
	list []round
}

type round struct {
	start time.Duration
	at    []time.Duration // in the order of arrival
}

func (r *rounds) begin(recipients int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, round{at: make([]time.Duration, 0, recipients)})
}

func (r *rounds) start(n int, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list[n].start = now
}

func (r *rounds) arrival(n int, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list[n].at = append(r.list[n].at, now)
}

// add adds the times of the broadcasts that reached all recipients.
func (r *rounds) add(to *Result, recipients int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first, middle, last histogram
	for _, round := range r.list {
		if len(round.at) == recipients {
			first.Record(round.at[0] - round.start)
			middle.Record(round.at[(recipients-1)/2] - round.start)
			last.Record(round.at[recipients-1] - round.start)
		}
	}
	to.addTimes("first_recipient", first.Snapshot())
	to.addTimes("median_recipient", middle.Snapshot())
	to.addTimes("last_recipient", last.Snapshot())
}

// invite adds a guest to the mesh for the duration of the run.
func (r *run) invite() (guest peer.Mesh, remove func(), err error) {
	m := r.config.Mesh
	about := peer.About{SessionID: "bench-host", Channel: "claudemesh-bench", Capabilities: []string{wire.CapTransient}}
	host, err := peer.Dial(r.ctx, peer.Options{Mesh: m, About: about, OneShot: true, HTTPClient: r.config.HTTPClient})
	if err != nil {
		return guest, nil, err
	}
	defer func() {
		if err != nil {
			host.Close()
		}
	}()
	const needs = "bench fanout needs a second member to send, because a broadcast does not reach the sessions of its sender's own member: "
	terms := peer.InviteTerms{Role: "member", Uses: 1, ExpiresAt: time.Now().Add(guestLife)}
	link, invite, err := peer.NewLinkInvite(&m, m.Member.Public(), terms)
	if err != nil {
		return guest, nil, fmt.Errorf(needs+"make an invite: %w", err)
	}
	if _, err := host.InviteCreate(r.ctx, invite); err != nil {
		return guest, nil, fmt.Errorf(needs+"invite a guest: %w; give the config directory of another member with --from", err)
	}
	dir, err := os.MkdirTemp("", "claudemesh-bench-")
	if err != nil {
		return guest, nil, err
	}
	defer os.RemoveAll(dir)
	joined, err := peer.Join(r.ctx, peer.Dir(dir), link, fmt.Sprintf("bench-%08x", r.id), r.config.HTTPClient)
	if err != nil {
		return guest, nil, fmt.Errorf(needs+"join as a guest: %w", err)
	}
	return joined.Mesh, func() {
		defer host.Close()
		key := joined.Mesh.Member.Public()
		ctx := context.WithoutCancel(r.ctx) // an interrupted run removes its guest, too
		if err := host.MemberRemove(ctx, key); err != nil {
			r.result.note("could not remove the guest %s from the mesh (%v): run claudemesh remove %s", key.Short(), err, key)
		}
	}, nil
}

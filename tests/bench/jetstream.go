package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jetStreams says how the pairs' subjects map to streams: users would create either one stream
// for all of them or one stream each.
type jetStreams string

const (
	oneStream     jetStreams = "one stream"
	streamPerPair jetStreams = "a stream per pair"
)

// jetPatience limits the wait for messages in flight at the end.
const jetPatience = time.Minute

// jetPair is a publisher and a consumer with their own connections, like the pairs of
// `claudemesh bench throughput`. A message is in flight until the server has acknowledged it
// to the publisher and the consumer has received and acknowledged it.
type jetPair struct {
	js      jetstream.JetStream
	subject string
	free    chan struct{}

	mu                         sync.Mutex
	acked, delivered, returned int
	last                       time.Time // of the last delivery
}

// noteAck counts a message that the server has acknowledged.
func (p *jetPair) noteAck() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked++
	p.returnLocked()
}

// noteDelivery counts a message that the consumer has acknowledged.
func (p *jetPair) noteDelivery() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delivered++
	p.last = time.Now()
	p.returnLocked()
}

// returnLocked frees the places of messages that were acknowledged and delivered. Acknowledgements
// come in order, and so do deliveries.
func (p *jetPair) returnLocked() {
	for p.returned < min(p.acked, p.delivered) {
		p.returned++
		p.free <- struct{}{}
	}
}

// result returns the number of deliveries and the time of the last.
func (p *jetPair) result() (delivered int, last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delivered, p.last
}

// jetStreamRate measures the rate of durable messages through a NATS server that syncs every
// write: published, stored, acknowledged, delivered and acknowledged.
func jetStreamRate(s *stage, layout jetStreams, pairs, window int, length time.Duration) float64 {
	url := startNATS(s)
	list := make([]*jetPair, pairs)
	for i := range list {
		p := &jetPair{subject: fmt.Sprintf("mesh.%d", i), free: make(chan struct{}, window)}
		for range window {
			p.free <- struct{}{}
		}
		s.check("set up JetStream", p.connect(s, url, layout, i))
		list[i] = p
	}
	sending, stop := context.WithTimeout(s.ctx, length)
	defer stop()
	settling, giveUp := context.WithTimeout(s.ctx, length+jetPatience)
	defer giveUp()
	failed := make([]error, pairs)
	var all sync.WaitGroup
	start := time.Now()
	for i, p := range list {
		all.Go(func() { failed[i] = p.publish(sending, settling) })
	}
	all.Wait()
	s.check("publish", errors.Join(failed...))
	messages, end := 0, start
	for _, p := range list {
		// All places are free when nothing is in flight.
		for range window {
			select {
			case <-p.free:
			case <-settling.Done():
				s.Fatal("JetStream didn't deliver all messages")
			}
		}
		delivered, last := p.result()
		messages += delivered
		if last.After(end) {
			end = last
		}
	}
	if messages == 0 {
		s.Fatal("JetStream delivered nothing")
	}
	return float64(messages) / end.Sub(start).Seconds()
}

// connect connects both ends. With one stream, the first pair creates it.
func (p *jetPair) connect(s *stage, url string, layout jetStreams, i int) error {
	from, err := nats.Connect(url)
	if err != nil {
		return err
	}
	s.Cleanup(from.Close)
	to, err := nats.Connect(url)
	if err != nil {
		return err
	}
	s.Cleanup(to.Close)
	if p.js, err = jetstream.New(from, jetstream.WithPublishAsyncMaxPending(cap(p.free))); err != nil {
		return err
	}
	config := jetstream.StreamConfig{Name: "MESH", Subjects: []string{"mesh.*"}, Storage: jetstream.FileStorage}
	if layout == streamPerPair {
		config.Name, config.Subjects = fmt.Sprintf("MESH%d", i), []string{p.subject}
	}
	if layout == streamPerPair || i == 0 {
		if _, err := p.js.CreateStream(s.ctx, config); err != nil {
			return err
		}
	}
	receiver, err := jetstream.New(to)
	if err != nil {
		return err
	}
	consumer, err := receiver.CreateConsumer(s.ctx, config.Name, jetstream.ConsumerConfig{
		Durable: fmt.Sprintf("peer%d", i), FilterSubject: p.subject, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		return err
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		if m.Ack() == nil {
			p.noteDelivery()
		}
	})
	if err != nil {
		return err
	}
	s.Cleanup(consuming.Stop)
	return nil
}

// publish keeps the window full until sending ends. Then it waits for the acknowledgements until
// settling ends.
func (p *jetPair) publish(sending, settling context.Context) error {
	pending := make(chan jetstream.PubAckFuture, cap(p.free))
	acks := make(chan error, 1)
	go func() { acks <- p.awaitAcks(settling, pending) }()
	err := p.fill(sending, pending)
	close(pending)
	return errors.Join(err, <-acks)
}

// fill publishes messages until ctx ends.
func (p *jetPair) fill(ctx context.Context, pending chan<- jetstream.PubAckFuture) error {
	body := make([]byte, sealedBytes+24) // and a nonce
	rand.Read(body)                      // never fails (crypto/rand)
	for ctx.Err() == nil {
		select {
		case <-p.free:
		case <-ctx.Done():
			return nil
		}
		f, err := p.js.PublishAsync(p.subject, body)
		if err != nil {
			return err
		}
		pending <- f
	}
	return nil
}

// awaitAcks waits for the acknowledgements, in order, and returns the first error.
func (p *jetPair) awaitAcks(ctx context.Context, pending <-chan jetstream.PubAckFuture) (first error) {
	for f := range pending {
		var err error
		select {
		case <-f.Ok():
			p.noteAck()
		case err = <-f.Err():
		case <-ctx.Done():
			err = ctx.Err()
		}
		if first == nil {
			first = err
		}
	}
	return first
}

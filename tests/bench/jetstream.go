package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
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

// jetPair is a publisher and a consumer with their own connections, like the pairs of
// `claudemesh bench throughput`. A message is in flight until the server has acknowledged it
// to the publisher and the consumer has received and acknowledged it.
type jetPair struct {
	js      jetstream.JetStream
	subject string
	free    chan struct{}
	last    *atomic.Int64 // the time of the last delivery of any pair, in Unix ns

	mu                         sync.Mutex
	acked, delivered, returned int
}

// done counts one of the two events that a message waits for; each kind comes in order.
func (p *jetPair) done(what *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*what++
	for p.returned < min(p.acked, p.delivered) {
		p.returned++
		p.free <- struct{}{}
	}
}

// jetStreamRate measures the rate of durable messages through a NATS server that syncs every
// write: published, stored, acknowledged, delivered and acknowledged.
func jetStreamRate(s *stage, layout jetStreams, pairs, window int, length time.Duration) float64 {
	url := startNATS(s)
	var last atomic.Int64
	list := make([]*jetPair, pairs)
	for i := range list {
		p := &jetPair{subject: fmt.Sprintf("mesh.%d", i), free: make(chan struct{}, window), last: &last}
		for range window {
			p.free <- struct{}{}
		}
		s.check("set up JetStream", p.connect(s, url, layout, i))
		list[i] = p
	}
	ctx, cancel := context.WithTimeout(s.ctx, length)
	defer cancel()
	var all sync.WaitGroup
	errs := make(chan error, pairs)
	start := time.Now()
	for _, p := range list {
		all.Go(func() {
			if err := p.publish(ctx); err != nil {
				errs <- err
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		s.Fatalf("publish: %v", err)
	default:
	}
	messages := 0
	for _, p := range list {
		// All tokens are back when nothing is in flight.
		for range window {
			select {
			case <-p.free:
			case <-time.After(time.Minute):
				s.Fatal("JetStream didn't deliver all messages")
			}
		}
		messages += p.delivered
	}
	return float64(messages) / time.Unix(0, last.Load()).Sub(start).Seconds()
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
			p.last.Store(time.Now().UnixNano())
			p.done(&p.delivered)
		}
	})
	if err != nil {
		return err
	}
	s.Cleanup(consuming.Stop)
	return nil
}

// publish keeps the window full until ctx ends, and waits for the acknowledgements.
func (p *jetPair) publish(ctx context.Context) error {
	body := make([]byte, sealedBytes+24) // and a nonce
	rand.Read(body)                      // never fails (crypto/rand)
	pending := make(chan jetstream.PubAckFuture, cap(p.free))
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for f := range pending {
			select {
			case <-f.Ok():
				p.done(&p.acked)
			case err := <-f.Err():
				failed <- err
				for range pending { // drain it, so that the publisher isn't blocked
				}
				return
			}
		}
	}()
	for {
		select {
		case <-p.free:
		case err := <-failed:
			close(pending)
			return err
		case <-ctx.Done():
			close(pending)
			return <-failed
		}
		if ctx.Err() != nil {
			p.free <- struct{}{}
			continue
		}
		f, err := p.js.PublishAsync(p.subject, body)
		if err != nil {
			close(pending)
			return err
		}
		pending <- f
	}
}

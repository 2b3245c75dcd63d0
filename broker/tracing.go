package broker

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/claudemesh/claudemesh/broker"

// The spans of a message. All but the first are children of the first; see request. docs/operating.md
// documents them and their attributes.
const (
	spanMessage     = "claudemesh.message"     // from the send to what its sender is told
	spanAccept      = "claudemesh.accept"      // until the message has an id and its recipients
	spanCommit      = "claudemesh.commit"      // from the end of accept until the message is stored
	spanPush        = "claudemesh.push"        // from the end of accept until a recipient's connection has it
	spanAcknowledge = "claudemesh.acknowledge" // from the end of push until the recipient has acknowledged it
)

// tracing makes spans.
type tracing struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
}

// Trace makes the broker trace the messages that the provider samples, until the provider is
// shut down. Calling it again with the same provider costs next to nothing.
func (b *Broker) Trace(p trace.TracerProvider) {
	if t := b.tracing.Load(); t == nil || t.provider != p {
		b.tracing.Store(&tracing{p, b.tracer(p)})
	}
}

func (b *Broker) tracer(p trace.TracerProvider) trace.Tracer {
	return p.Tracer(tracerName, trace.WithInstrumentationVersion(b.version))
}

// sweepTracing forgets a provider that was shut down.
func (b *Broker) sweepTracing() {
	t := b.tracing.Load()
	if t == nil {
		return
	}
	if _, ended := b.tracer(t.provider).(noop.Tracer); ended {
		b.tracing.CompareAndSwap(t, nil)
	}
}

// request is a traced request that has opened a connection. The connection's first message belongs to
// its trace. A connection may live for weeks, so each later message has a trace of its own, with a
// link to the request.
type request struct {
	span   trace.SpanContext
	joined bool // by a message; owned by the reader
}

// tracedRequest returns the request whose span is in ctx, or nil if there is none.
func tracedRequest(ctx context.Context) *request {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		return &request{span: span}
	}
	return nil
}

// context returns ctx with the span of the request, if there is one.
func (r *request) context(ctx context.Context) context.Context {
	if r == nil {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, r.span)
}

// follow returns what the span of the connection's next message follows.
func (r *request) follow() (parent context.Context, links []trace.Link) {
	switch {
	case r == nil:
		return context.Background(), nil
	case r.joined:
		return context.Background(), []trace.Link{{SpanContext: r.span}}
	}
	r.joined = true
	return r.context(context.Background()), nil
}

// traceDeliveries bounds the deliveries of one message that have spans.
const traceDeliveries = 64

// journey is the trace of one message. A message that is not sampled has a nil journey.
type journey struct {
	tracer trace.Tracer
	ctx    context.Context // of the span of the message
	began  time.Time

	mu         sync.Mutex
	accepted   time.Time
	storing    bool
	deliveries map[int64]*traced // by Seq: those that are not acknowledged
}

// traced is one delivery of a journey.
type traced struct {
	recipient wire.Key
	pushed    time.Time // first; zero: not yet
	pushes    int
}

// trace begins the journey of a send, if it is sampled.
func (c *conn) trace(a *arrival) *journey {
	t := c.broker.tracing.Load()
	if t == nil {
		return nil
	}
	attributes := []attribute.KeyValue{
		attribute.Stringer("claudemesh.mesh", c.room.id),
		attribute.Stringer("claudemesh.member", c.actor.MemberID),
		attribute.Int("claudemesh.bytes", a.Size()),
	}
	if a.Priority.Valid() {
		attributes = append(attributes, attribute.String("claudemesh.priority", string(a.Priority)))
	}
	parent, links := c.request.follow()
	ctx, span := t.tracer.Start(parent, spanMessage, trace.WithLinks(links...),
		trace.WithTimestamp(a.at), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...))
	if !span.IsRecording() {
		return nil
	}
	return &journey{tracer: t.tracer, ctx: ctx, began: a.at}
}

// follow returns the trace that the queue tells about a send's message, or nil if the send is not
// traced.
func (a *arrival) follow() queue.Trace {
	if a.trace == nil {
		return nil // as an interface
	}
	return a.trace
}

// answered ends the span of the message. outcome is "accepted", "repeated" or the word of a
// refusal, without its text: that may quote the client.
func (j *journey) answered(outcome string, refused bool) {
	if j == nil {
		return
	}
	span := trace.SpanFromContext(j.ctx)
	span.SetAttributes(attribute.String("claudemesh.outcome", outcome))
	if refused {
		span.SetStatus(codes.Error, outcome)
	}
	span.End()
}

// span makes a span that ends now.
func (j *journey) span(name string, began, now time.Time, failed string, attributes ...attribute.KeyValue) {
	_, span := j.tracer.Start(j.ctx, name, trace.WithTimestamp(began), trace.WithAttributes(attributes...))
	if failed != "" {
		span.SetStatus(codes.Error, failed)
	}
	span.End(trace.WithTimestamp(now))
}

// Accepted implements queue.Trace.
func (j *journey) Accepted(a *queue.Accepted) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	j.accepted, j.storing = now, true
	j.deliveries = make(map[int64]*traced)
	recipients := 0
	for i := range a.Recipients {
		r := &a.Recipients[i]
		if r.Unopened() {
			continue
		}
		if recipients++; recipients <= traceDeliveries {
			j.deliveries[r.Seq] = &traced{recipient: r.Key}
		}
	}
	trace.SpanFromContext(j.ctx).SetAttributes(
		attribute.Stringer("claudemesh.message", a.ID), attribute.Int("claudemesh.recipients", recipients))
	j.span(spanAccept, j.began, now, "")
}

// Stored implements queue.Trace.
func (j *journey) Stored(as wire.ID, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.storing = false
	if err != nil {
		j.deliveries = nil // the sender sends it again
		j.span(spanCommit, j.accepted, time.Now(), string(storage.ReasonOf(err)))
		return
	}
	j.span(spanCommit, j.accepted, time.Now(), "", attribute.Stringer("claudemesh.message", as))
}

// Pushed implements queue.Trace.
func (j *journey) Pushed(seq int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := j.deliveries[seq]
	if d == nil {
		return
	}
	if d.pushes++; d.pushes == 1 {
		d.pushed = time.Now()
		j.span(spanPush, j.accepted, d.pushed, "", d.attributes(seq)...)
	}
}

// Acknowledged implements queue.Trace.
func (j *journey) Acknowledged(seq int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := j.deliveries[seq]
	if d == nil || d.pushes == 0 {
		return
	}
	delete(j.deliveries, seq)
	j.span(spanAcknowledge, d.pushed, time.Now(), "", append(d.attributes(seq), attribute.Int("claudemesh.pushes", d.pushes))...)
}

func (d *traced) attributes(seq int64) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Int64("claudemesh.delivery", seq), attribute.Stringer("claudemesh.recipient", d.recipient),
	}
}

// Over implements queue.Trace.
func (j *journey) Over() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.storing && len(j.deliveries) == 0
}

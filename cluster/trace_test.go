package cluster

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// TestTrace checks that the owner of a mesh learns of the span of a request, and that a client can't
// make the preface too long with its tracestate.
func TestTrace(t *testing.T) {
	_, edge, owner, mesh := edgeAndOwner(t)
	state, err := trace.ParseTraceState("vendor=" + strings.Repeat("x", 256) + ",other=" + strings.Repeat("y", 256) + ",third=" + strings.Repeat("z", 256))
	if err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string]trace.TraceFlags{"sampled": trace.FlagsSampled, "not sampled": 0} {
		span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags, TraceState: state})
		near, far := tcpPair(t)
		take, err := edge.Route(trace.ContextWithSpanContext(t.Context(), span), mesh, netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		take(far, nil)
		socket := owner.next(t)
		got := trace.SpanContextFromContext(socket.leave)
		if got.TraceID() != span.TraceID() || got.SpanID() != span.SpanID() || got.TraceFlags() != flags || !got.IsRemote() {
			t.Errorf("%s: the owner knows the span %+v", name, got)
		}
		send(t, near, "hello")
		expect(t, socket, "hello")
	}
	edge.connect(t, mesh, "")
	if got := trace.SpanContextFromContext(owner.next(t).leave); got.IsValid() {
		t.Errorf("without a span, the owner knows %+v", got)
	}
	for _, garbage := range []string{"x", "00-00000000000000000000000000000000-0000000000000000-01", strings.Repeat("0", 900)} {
		if ctx := context.Background(); trace.SpanContextFromContext(withTrace(ctx, garbage)).IsValid() {
			t.Errorf("%q is a span", garbage)
		}
	}
}

// TestNoTraceCostsNothing checks that relaying a socket allocates nothing for a request without a span.
func TestNoTraceCostsNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if withTrace(t.Context(), traceOf(t.Context())) != t.Context() {
			t.Error("a span from nowhere")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

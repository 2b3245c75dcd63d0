package cluster

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceparent is the name and the form in which W3C Trace Context passes a span on.
const traceparent = "traceparent"

// traceOf returns the span of ctx as a traceparent, or "" if there is none. It leaves the tracestate
// out, whose length a client chooses.
func traceOf(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceparent]
}

// withTrace returns ctx with the span that another node tells. It ignores what is not a traceparent.
func withTrace(ctx context.Context, parent string) context.Context {
	if parent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: parent})
}

package caddymesh

import (
	"context"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// trace has the broker trace messages as Caddy's tracing handler traces the request. Sockets
// outlive requests, and other nodes pass theirs on, so this concerns all messages.
func (c *call) trace() {
	if span := trace.SpanFromContext(c.r.Context()); span.SpanContext().IsValid() {
		c.broker.Trace(span.TracerProvider())
	}
}

// tracing returns what Caddy's tracing handler traces with, for each hub with a claudemesh handler
// that is behind one. A node can't wait for a traced request: other nodes may relay sockets to one that
// gets no request, and the sockets that are open when a config is loaded send none.
func (a *App) tracing() map[*hub]trace.TracerProvider {
	found := make(map[*hub]trace.TracerProvider)
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return found // no handler, so no hub either
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		search := tracedSearch{server, found, make(map[string]bool)}
		search.follow(server.Routes, nil)
	}
	return found
}

// tracedSearch looks for the hubs behind the tracing handlers of a server.
type tracedSearch struct {
	server  *caddyhttp.Server
	found   map[*hub]trace.TracerProvider
	invoked map[string]bool // named routes that it is in: one may invoke itself
}

// follow takes the way of a request through routes. provider is that of a tracing handler in front of all
// of them, or nil. It returns the provider that each request has when it leaves them.
func (s tracedSearch) follow(routes caddyhttp.RouteList, provider trace.TracerProvider) trace.TracerProvider {
	for _, route := range routes {
		inRoute := provider
		for _, handler := range route.Handlers {
			inRoute = s.pass(handler, inRoute)
		}
		if len(route.MatcherSets) == 0 && route.Group == "" { // each request passes it on its way to the next route
			provider = inRoute
		}
	}
	return provider
}

// pass takes the way of a request through a handler.
func (s tracedSearch) pass(handler caddyhttp.MiddlewareHandler, provider trace.TracerProvider) trace.TracerProvider {
	switch h := handler.(type) {
	case *Handler:
		if provider != nil {
			s.found[h.hub] = provider
		}
	case *caddyhttp.Subroute:
		return s.follow(h.Routes, provider)
	case *caddyhttp.Invoke:
		route := s.server.NamedRoutes[h.Name]
		if route == nil || s.invoked[h.Name] {
			break
		}
		s.invoked[h.Name] = true
		provider = s.follow(caddyhttp.RouteList{*route}, provider)
		delete(s.invoked, h.Name)
	case caddy.Module:
		if h.CaddyModule().ID == "http.handlers.tracing" {
			return providerOf(s.server, handler)
		}
	}
	return provider
}

// providerOf returns what a tracing handler traces with. Only a request can tell, so it sends one, as
// part of a trace that is not sampled: only OTEL_TRACES_SAMPLER=always_on exports its span. It returns nil
// if the handler does not trace.
func providerOf(server *caddyhttp.Server, tracing caddyhttp.MiddlewareHandler) (provider trace.TracerProvider) {
	unsampled := trace.SpanContextConfig{SpanID: trace.SpanID{1}}
	for i := range unsampled.TraceID {
		unsampled.TraceID[i] = 0xff // no ratio samples the greatest id
	}
	ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(unsampled))
	var nowhere struct{ http.ResponseWriter } // nobody answers
	r := (&http.Request{Method: http.MethodHead, URL: &url.URL{Path: "/"}, Header: make(http.Header), Body: http.NoBody}).WithContext(ctx)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nowhere, server)
	err := tracing.ServeHTTP(nowhere, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		if span := trace.SpanFromContext(r.Context()); span.SpanContext().IsValid() {
			provider = span.TracerProvider()
		}
		return nil
	}))
	if err != nil {
		caddy.Log().Named("claudemesh").Warn("could not ask the tracing handler what it traces with; messages are traced from the first traced request on", zap.Error(err))
		return nil
	}
	return provider
}

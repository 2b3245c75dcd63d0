package caddymesh

import "testing"

// namedRoute ends the directives of a site, and begins a named route, of which Caddy takes the first directive; loadSite
// ends it.
func namedRoute(name, directives string) string {
	return "\n}\n&(" + name + ") {\nroute {\n" + directives + "\n}"
}

// TestTracingFromTheStart checks which configs have the broker trace messages before any request.
func TestTracingFromTheStart(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	s := startServer(t)
	broker := s.directives()
	for _, test := range []struct {
		name, directives string
		traced           bool
	}{
		{"without tracing", broker, false},
		{"in front of the broker", "tracing\n" + broker, true},
		{"with a name and attributes", "tracing {\nspan {http.request.uri.path}\nspan_attributes {\nhost {http.request.host}\n}\n}\n" + broker, true},
		{"behind the broker", "route {\n" + broker + "\ntracing\n}", false},
		{"around a handle", "tracing\nhandle {\n" + broker + "\n}", true},
		{"in a handle", "handle /mesh/* {\ntracing\n" + broker + "\n}", true},
		{"in another handle", "handle /other/* {\ntracing\n}\nhandle {\n" + broker + "\n}", false},
		{"for some requests", "tracing /other/*\n" + broker, false},
		{"for some requests of a route", "route {\nroute /other/* {\ntracing\n}\n" + broker + "\n}", false},
		{"in a route in front of the broker", "route {\nroute {\ntracing\n}\n" + broker + "\n}", true},
		{"in a named route with the broker", "invoke mesh\n" + namedRoute("mesh", "tracing\n"+broker), true},
		{"in front of a named route", "tracing\ninvoke mesh\n" + namedRoute("mesh", broker), true},
		{"in a named route in front of the broker", "invoke other\n" + broker + namedRoute("other", "tracing"), true},
		{"in a named route for some requests", "invoke /other/* other\n" + broker + namedRoute("other", "tracing"), false},
		{"in a named route that nobody invokes", broker + namedRoute("other", "tracing"), false},
		{"in a named route that invokes itself", "invoke mesh\n" + namedRoute("mesh", "tracing\n"+broker+"\ninvoke mesh"), true},
		{"no longer", broker, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := s.loadSite(test.directives); err != nil {
				t.Fatal(err)
			}
			hubs.Range(func(_, value any) bool {
				h := value.(*hub)
				h.mu.Lock()
				defer h.mu.Unlock()
				if traced := h.applied.tracing != nil; traced != test.traced {
					t.Errorf("the broker traces messages: %t", traced)
				}
				return true
			})
			if n := hubCount(); n != 1 {
				t.Errorf("got %d hubs", n)
			}
		})
	}
}

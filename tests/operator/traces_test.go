package operator

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// TestTraces has Caddy's tracing export the spans of messages: of one whose recipient is here, of
// one that waits for its recipient, and of a refused one. Tracing begins and ends with a reload,
// for sockets that are open, too, and needs no request to begin.
func TestTraces(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	b := harness.NewBroker(t, commands, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_SERVICE_NAME=mesh")
	untraced := b.Config
	b.Start()
	mesh, bob := newMesh(t, b), newPerson(t)
	alice := dial(t, peer.Options{Mesh: mesh})
	arrive := func() *peer.Client { return bob.connect(t, mesh) }
	const secret = "meet me at noon"
	send := func() string {
		t.Helper()
		receipt, err := alice.Send(t.Context(), peer.Outgoing{
			To: []wire.Target{{Kind: wire.TargetKey, Key: bob.key.Public()}}, Body: []byte(secret),
		})
		if err != nil {
			t.Fatal(err)
		}
		return receipt.MessageID
	}
	reload := func(config string) {
		t.Helper()
		if out, code := b.RunCaddy("reload", "--config", config, "--adapter", "caddyfile", "--force"); code != 0 {
			t.Fatalf("reload: exit code %d\n%s", code, out)
		}
	}

	connected := arrive()
	before := send()
	bob.await(t)
	reload(tracedConfig(t, untraced))
	live := send()
	bob.await(t)
	c.checkDelivered(t, live)
	connected.Close()
	waiting := send()
	await.Until(t, "the waiting message is stored", func() bool { return c.trace(waiting)["claudemesh.commit"] != nil })
	connected = arrive()
	bob.await(t)
	c.checkDelivered(t, waiting)

	stranger := newPerson(t)
	if _, err := alice.Send(t.Context(), peer.Outgoing{
		To: []wire.Target{{Kind: wire.TargetKey, Key: stranger.key.Public()}}, Body: []byte(secret),
	}); err == nil {
		t.Error("a message to nobody was accepted")
	}
	await.Until(t, "the refused message is traced", func() bool {
		return slices.ContainsFunc(c.all(), func(s *tracepb.Span) bool {
			return attributes(s)["claudemesh.outcome"] == wire.AckTargetNotFound && s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR
		})
	})

	reload(untraced)
	after := send()
	bob.await(t)
	connected.Close()
	b.Stop()
	for name, id := range map[string]string{"before tracing began": before, "after it ended": after} {
		if len(c.trace(id)) > 0 {
			t.Errorf("a message from %s is traced", name)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if raw := c.raw.Bytes(); bytes.Contains(raw, []byte(secret)) || !bytes.Contains(raw, []byte("claudemesh.message")) {
		t.Error("the export has a message's content, or nothing at all")
	}
}

// TestTracesOfACluster traces messages of clients at both of two nodes, one of which owns the mesh. The
// first message of each belongs to the trace of the request that opened its connection, also if another
// node traced the request; the next one has a trace of its own, with a link to that request.
func TestTracesOfACluster(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	database := "DATABASE_URL=" + pgtest.DSN(t)
	nodes := make(map[string]*harness.Broker)
	for _, name := range []string{"a", "b"} {
		b := harness.NewBroker(t, commands, database, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_SERVICE_NAME="+name)
		b.JoinCluster(loopback(harness.FreePort(t)))
		b.Config = tracedConfig(t, b.Config)
		b.Start()
		nodes[name] = b
	}
	mesh, bob := newMesh(t, nodes["a"]), newPerson(t)
	bob.connect(t, mesh)
	checkProxyIsSeen(t, nodes["a"])
	relayed := 0
	for name, node := range nodes {
		at := mesh
		at.BrokerURL = node.WSURL()
		client := dial(t, peer.Options{Mesh: at})
		send := func() map[string]*tracepb.Span {
			t.Helper()
			receipt, err := client.Send(t.Context(), peer.Outgoing{To: []wire.Target{{Kind: wire.TargetKey, Key: bob.key.Public()}}, Body: []byte("hello")})
			if err != nil {
				t.Fatal(err)
			}
			bob.await(t)
			return c.checkSpans(t, receipt.MessageID)
		}
		first := send()
		message := first["claudemesh.message"]
		var upgrade *tracepb.Span
		await.Until(t, "the request that opened the connection is traced", func() bool {
			for _, s := range c.all() {
				if bytes.Equal(s.TraceId, message.TraceId) && bytes.Equal(s.SpanId, message.ParentSpanId) {
					upgrade = s
				}
			}
			return upgrade != nil
		})
		if got := attributes(upgrade)["url.path"]; got != "/ws" || c.node(upgrade) != name {
			t.Errorf("the message of the client at node %s belongs to a request of node %s for %q", name, c.node(upgrade), got)
		}
		if c.node(message) != name {
			relayed++
		}
		second := send()["claudemesh.message"]
		if bytes.Equal(second.TraceId, upgrade.TraceId) || len(second.ParentSpanId) > 0 || len(second.Links) != 1 ||
			!bytes.Equal(second.Links[0].SpanId, upgrade.SpanId) || !bytes.Equal(second.Links[0].TraceId, upgrade.TraceId) {
			t.Errorf("the second message of the client at node %s: %v", name, second)
		}
	}
	if relayed != 1 {
		t.Errorf("%d of 2 clients are at a node that doesn't own the mesh", relayed)
	}
}

// checkProxyIsSeen checks that a trace that comes with a request is still a sign of a proxy, although
// Caddy's tracing itself adds the same header.
func checkProxyIsSeen(t *testing.T, b *harness.Broker) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL("/meshes"), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	answer, err := harness.HTTPClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "Traceparent") {
		t.Errorf("creating a mesh through a proxy that traces: %d %s %v", answer.StatusCode, body, err)
	}
}

// tracedConfig returns a copy of a config in which Caddy traces the broker's requests.
func tracedConfig(t *testing.T, shipped string) string {
	t.Helper()
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	const snippet = "\n(broker) {\n"
	traced := strings.Replace(string(text), snippet, snippet+"\ttracing\n", 1)
	if traced == string(text) {
		t.Fatalf("no snippet %q in %s", snippet, shipped)
	}
	path := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(path, []byte(traced), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// person is a session that comes and goes.
type person struct {
	key   identity.KeyPair
	taken chan struct{}
}

func newPerson(t *testing.T) *person {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return &person{key, make(chan struct{})}
}

func (p *person) connect(t *testing.T, mesh peer.Mesh) *peer.Client {
	t.Helper()
	c, err := peer.Dial(t.Context(), peer.Options{Mesh: mesh, Session: p.key, OnMessage: func(ctx context.Context, _ peer.Incoming) error {
		select {
		case p.taken <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (p *person) await(t *testing.T) {
	t.Helper()
	select {
	case <-p.taken:
	case <-time.After(await.Patience):
		t.Fatal("the message has not arrived")
	}
}

// collector receives spans by OTLP over HTTP.
type collector struct {
	*httptest.Server

	mu    sync.Mutex
	spans []*tracepb.Span
	nodes map[*tracepb.Span]string // by their OTEL_SERVICE_NAME
	raw   bytes.Buffer
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{nodes: make(map[*tracepb.Span]string)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "not an export of traces", http.StatusBadRequest)
			return
		}
		var data tracepb.TracesData // has the encoding of an ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &data); err != nil {
			t.Errorf("an export that is not OTLP: %v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(body)
		for _, resource := range data.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
				for _, s := range scope.Spans {
					for _, a := range resource.Resource.Attributes {
						if a.Key == "service.name" {
							c.nodes[s] = a.Value.GetStringValue()
						}
					}
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) all() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// node returns which node has made a span.
func (c *collector) node(s *tracepb.Span) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[s]
}

// trace returns the spans of a message by name.
func (c *collector) trace(messageID string) map[string]*tracepb.Span {
	spans := c.all()
	i := slices.IndexFunc(spans, func(s *tracepb.Span) bool {
		return s.Name == "claudemesh.message" && attributes(s)["claudemesh.message"] == messageID
	})
	byName := make(map[string]*tracepb.Span)
	for _, s := range spans {
		if i >= 0 && bytes.Equal(s.TraceId, spans[i].TraceId) {
			byName[s.Name] = s
		}
	}
	return byName
}

// attributes returns a span's attributes; numbers are in their textual form.
func attributes(s *tracepb.Span) map[string]string {
	all := make(map[string]string)
	for _, a := range s.Attributes {
		if all[a.Key] = a.Value.GetStringValue(); all[a.Key] == "" {
			all[a.Key] = a.Value.String()
		}
	}
	return all
}

// checkDelivered is checkSpans for a message that has a trace of its own.
func (c *collector) checkDelivered(t *testing.T, messageID string) {
	t.Helper()
	if root := c.checkSpans(t, messageID)["claudemesh.message"]; len(root.ParentSpanId) > 0 {
		t.Errorf("the span of the message has the parent %s", hex.EncodeToString(root.ParentSpanId))
	}
}

// checkSpans waits for all spans of a delivered message, and checks how they belong together and that
// they have the documented attributes and no others.
func (c *collector) checkSpans(t *testing.T, messageID string) map[string]*tracepb.Span {
	t.Helper()
	want := map[string][]string{
		"claudemesh.message": {"claudemesh.bytes", "claudemesh.member", "claudemesh.mesh", "claudemesh.message", "claudemesh.outcome",
			"claudemesh.priority", "claudemesh.recipients"},
		"claudemesh.accept":      nil,
		"claudemesh.commit":      {"claudemesh.message"},
		"claudemesh.push":        {"claudemesh.delivery", "claudemesh.recipient"},
		"claudemesh.acknowledge": {"claudemesh.delivery", "claudemesh.pushes", "claudemesh.recipient"},
	}
	var spans map[string]*tracepb.Span
	await.Until(t, "the message is traced", func() bool {
		spans = c.trace(messageID)
		maps.DeleteFunc(spans, func(name string, _ *tracepb.Span) bool { return !strings.HasPrefix(name, "claudemesh.") })
		return len(spans) >= len(want)
	})
	root := spans["claudemesh.message"]
	for name, s := range spans {
		if got := slices.Sorted(maps.Keys(attributes(s))); !slices.Equal(got, want[name]) {
			t.Errorf("span %s has the attributes %v, want %v", name, got, want[name])
		}
		if s != root && !bytes.Equal(s.ParentSpanId, root.SpanId) || s.StartTimeUnixNano > s.EndTimeUnixNano || s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("span %s: %v", name, s)
		}
	}
	if attributes(root)["claudemesh.outcome"] != "accepted" {
		t.Errorf("the span of the message: %v", attributes(root))
	}
	accept, commit, push, acknowledge := spans["claudemesh.accept"], spans["claudemesh.commit"], spans["claudemesh.push"], spans["claudemesh.acknowledge"]
	if accept.StartTimeUnixNano != root.StartTimeUnixNano || commit.StartTimeUnixNano != accept.EndTimeUnixNano ||
		push.StartTimeUnixNano != accept.EndTimeUnixNano || acknowledge.StartTimeUnixNano != push.EndTimeUnixNano {
		t.Errorf("the spans don't follow each other: %v", spans)
	}
	return spans
}

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
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// TestTraces has Caddy's tracing export the spans of messages: of one whose recipient is here, of
// one that waits for its recipient, and of a refused one. Tracing begins and ends with a reload,
// for sockets that are open, too.
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
		b.AwaitReady()
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
	raw   bytes.Buffer
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := new(collector)
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

// checkDelivered waits for all spans of a delivered message, and checks how they belong together
// and that they have the documented attributes and no others.
func (c *collector) checkDelivered(t *testing.T, messageID string) {
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
	if len(root.ParentSpanId) > 0 || attributes(root)["claudemesh.outcome"] != "accepted" {
		t.Errorf("the span of the message: parent %s, %v", hex.EncodeToString(root.ParentSpanId), attributes(root))
	}
	accept, commit, push, acknowledge := spans["claudemesh.accept"], spans["claudemesh.commit"], spans["claudemesh.push"], spans["claudemesh.acknowledge"]
	if accept.StartTimeUnixNano != root.StartTimeUnixNano || commit.StartTimeUnixNano != accept.EndTimeUnixNano ||
		push.StartTimeUnixNano != accept.EndTimeUnixNano || acknowledge.StartTimeUnixNano != push.EndTimeUnixNano {
		t.Errorf("the spans don't follow each other: %v", spans)
	}
}

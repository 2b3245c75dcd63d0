package broker_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
)

// TestEndsAreLogged checks the line that each connection leaves in the log when it ends.
func TestEndsAreLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	store := openNew(t)
	s := run(t, store, broker.Options{Storage: store, Log: zap.New(core)}, nil)
	m := s.owner()
	ends := func(reason string, level zapcore.Level, fields ...string) {
		t.Helper()
		var lines []observer.LoggedEntry
		await.Until(t, "the end is logged", func() bool {
			lines = logs.FilterMessage("connection ended").AllUntimed()
			return len(lines) == 1
		})
		logs.TakeAll()
		got := lines[0].ContextMap()
		if lines[0].Level != level || got["reason"] != reason || !slices.Equal(slices.Sorted(maps.Keys(got)), fields) {
			t.Errorf("%v %v, want the reason %s and the fields %v", lines[0].Level, got, reason, fields)
		}
		if len(fields) > 4 && (got["mesh"] != m.mesh || got["member"] != m.member) {
			t.Errorf("a connection of member %s in mesh %s: %v", m.member, m.mesh, got)
		}
		if remote, err := netip.ParseAddrPort(got["remote"].(string)); err != nil || remote.Addr().String() != got["client"] {
			t.Errorf("the addresses are %v and %v", got["remote"], got["client"])
		}
	}
	member := []string{"client", "duration", "member", "mesh", "reason", "remote"}
	stranger := []string{"client", "duration", "reason", "remote"}

	logs.TakeAll()
	c := s.session(m, newKeys(t), "closes")
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	ends("closed", zap.DebugLevel, member...)

	c = s.session(m, newKeys(t), "breaks")
	_ = c.ws.CloseNow()
	ends("broken", zap.DebugLevel, member...)

	c = s.session(m, newKeys(t), "kicked")
	if _, err := s.Kick(t.Context(), meshOf(t, m), "kicked", ""); err != nil {
		t.Fatal(err)
	}
	c.closed()
	ends("sent_away", zap.InfoLevel, member...)

	c = s.dial()
	hello := sessionHello(m, newKeys(t), "refused")
	hello["signature"] = "00"
	c.send(hello)
	c.next("error")
	c.closed()
	ends("refused", zap.DebugLevel, stranger...)
}

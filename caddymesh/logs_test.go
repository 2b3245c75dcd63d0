package caddymesh

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestLogsAreLimited checks that the log has the same message not too often, but each debug message.
func TestLogsAreLimited(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zap.DebugLevel)
	h := newHub(nil)
	h.core.swap(core)
	log := h.log.Named("claudemesh").With(zap.String("storage", "x"))
	for range 10 * logFirst {
		log.Error("storage unreachable")
		log.Debug("connection ended")
	}
	log.Info("storage is back")
	// The test may run across the end of a period.
	if n := logged.FilterMessage("storage unreachable").Len(); n < logFirst || n > 5*logFirst {
		t.Errorf("the same message is logged %d times", n)
	}
	if n := logged.FilterMessage("connection ended").FilterField(zap.String("storage", "x")).Len(); n != 10*logFirst {
		t.Errorf("a debug message is logged %d times", n)
	}
	if logged.FilterMessage("storage is back").Len() != 1 {
		t.Error("another message is missing")
	}
}

// TestAccessLogFields checks what the broker adds to the lines of Caddy's access log.
func TestAccessLogFields(t *testing.T) {
	s := startServer(t)
	file := s.db("access.log")
	if err := s.loadSite("log {\noutput file " + file + "\n}\n" + s.directives()); err != nil {
		t.Fatal(err)
	}
	s.awaitReady()
	o := s.createMesh("Release Team")
	s.do("POST", "/hook/set-status", `{"cwd":`)
	type line struct {
		Mesh, Member, Refused string
		Request               struct{ URI string }
	}
	seen := map[string]line{}
	await.Until(t, "the requests are in the access log", func() bool {
		text, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		for row := range strings.Lines(string(text)) {
			var l line
			if json.Unmarshal([]byte(row), &l) == nil {
				seen[l.Request.URI] = l
			}
		}
		return seen["/meshes"].Mesh != "" && seen["/hook/set-status"].Refused != ""
	})
	if l := seen["/meshes"]; l.Mesh != o.meshID || len(l.Member) != 32 || l.Refused != "" {
		t.Errorf("got %+v", l)
	}
	if l := seen["/hook/set-status"]; l.Mesh != "" || !strings.Contains(l.Refused, "JSON") {
		t.Errorf("got %+v", l)
	}
}

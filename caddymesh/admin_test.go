package caddymesh

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestAdminHealth(t *testing.T) {
	s := startServer(t)
	var rows []brokerHealth
	var body string
	await.Until(t, "the broker is ready", func() bool { // a slow disk may delay its first check
		s.do("GET", "/health/ready", "")
		w := httptest.NewRecorder()
		if err := adminHealth(w, httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/health", nil)); err != nil {
			t.Fatal(err)
		}
		body = w.Body.String()
		if err := json.Unmarshal([]byte(body), &rows); err != nil {
			t.Fatal(err)
		}
		return len(rows) == 1 && rows[0].Ready
	}, func() string { return body })
	if !strings.Contains(rows[0].Storage, s.db("mesh.db")) {
		t.Errorf("%s", body)
	}
	w := httptest.NewRecorder()
	if err := adminHealth(w, httptest.NewRequestWithContext(t.Context(), "POST", "/claudemesh/health", nil)); err == nil {
		t.Error("POST was allowed")
	}
}

package caddymesh

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAdminHealth(t *testing.T) {
	s := startServer(t)
	s.do("GET", "/health/ready", "")
	w := httptest.NewRecorder()
	if err := adminHealth(w, httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/health", nil)); err != nil {
		t.Fatal(err)
	}
	var rows []brokerHealth
	if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 || !rows[0].Ready || !strings.Contains(rows[0].Storage, s.db("mesh.db")) {
		t.Errorf("%s", w.Body)
	}
	if err := adminHealth(w, httptest.NewRequestWithContext(t.Context(), "POST", "/claudemesh/health", nil)); err == nil {
		t.Error("POST is allowed")
	}
}

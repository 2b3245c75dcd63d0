package caddymesh

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/broker"
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

// TestMeshesCalled names a mesh in which nobody is by its slug, and then two meshes that have the same slug.
func TestMeshesCalled(t *testing.T) {
	s := startServer(t)
	first := s.createMesh("First")
	first.ws.CloseNow()
	if err := s.loadSite("respond 204"); err != nil { // the broker stops
		t.Fatal(err)
	}
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	s.awaitReady()
	if n := len(running(t, s.db("mesh.db")).Meshes()); n != 0 {
		t.Fatalf("%d meshes are in memory", n)
	}
	about := func(mesh string) (any, error) {
		return adminMesh(httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/mesh?mesh="+mesh, nil))
	}
	rows, err := about("team")
	if list, ok := rows.([]meshRow); err != nil || !ok || len(list) != 1 || list[0].ID.String() != first.meshID {
		t.Errorf("by slug: %v, %v", rows, err)
	}
	if rows, err := about("tea"); !errors.Is(err, broker.ErrNoMesh) {
		t.Errorf("an unknown slug: %v, %v", rows, err)
	}
	second := s.createMesh("Second")
	defer second.ws.CloseNow()
	_, err = about("team")
	wantStatus(t, err, http.StatusConflict)
	for _, id := range []string{first.meshID, second.meshID} {
		if err == nil || !strings.Contains(err.Error(), id) {
			t.Errorf("the refusal of a slug of two meshes does not name %s: %v", id, err)
		}
		if rows, err := about(id); err != nil || rows.([]meshRow)[0].ID.String() != id {
			t.Errorf("by id: %v, %v", rows, err)
		}
	}
}

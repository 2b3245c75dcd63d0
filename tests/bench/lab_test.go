package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// TestMetrics checks that a missing sample doesn't become a 0.
func TestMetrics(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# HELP a x\n# TYPE a counter\na 0\nb 1.5e+03\nc{d=\"e\"} 2\n")
	}))
	defer server.Close()
	if got, err := metrics(t.Context(), server.URL, "b", "a"); err != nil || !slices.Equal(got, []float64{1500, 0}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, missing := range []string{"c", "d", "#"} {
		if got, err := metrics(t.Context(), server.URL, "a", missing); err == nil {
			t.Errorf("%s doesn't exist, but is %v", missing, got)
		}
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	for n := range 50 {
		for groups := 1; groups < 8; groups++ {
			sum, most, least := 0, 0, n
			for i := range groups {
				s := share(n, groups, i)
				sum, most, least = sum+s, max(most, s), min(least, s)
			}
			if sum != n || most-least > 1 {
				t.Errorf("%d sessions in %d groups: %d, from %d to %d", n, groups, sum, least, most)
			}
		}
	}
}

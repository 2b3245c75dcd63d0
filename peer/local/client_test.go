package local_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
)

// TestCallReadsToTheEnd checks that a call reads the whole answer, including anything after
// the JSON object: a daemon that can't write everything considers the answer lost.
func TestCallReadsToTheEnd(t *testing.T) {
	t.Parallel()
	for name, out := range map[string]any{"answer": new(local.Status), "no answer": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := daemontest.Start(t, daemontest.Dir(t))
			written := make(chan error, 1)
			s.HandleFunc(local.VerbStatus, func(w http.ResponseWriter, _ *http.Request) {
				_, err := w.Write([]byte(`{"pid": 7}`))
				if err == nil {
					err = http.NewResponseController(w).Flush()
				}
				// More than a socket buffers.
				for range 8 {
					if err == nil {
						_, err = w.Write([]byte(strings.Repeat(" ", 64<<10)))
					}
				}
				written <- err
			})
			client, err := local.Owner(s.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Call(t.Context(), local.VerbStatus, nil, out); err != nil {
				t.Fatal(err)
			}
			if err := <-written; err != nil {
				t.Errorf("the daemon failed to answer: %v", err)
			}
		})
	}
}

package cli

import (
	"fmt"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/peer"
)

// TestSentAtTheSameTime checks that commands that send at the same time all remember their messages,
// and that the list keeps only the newest.
func TestSentAtTheSameTime(t *testing.T) {
	t.Parallel()
	a := &app{dir: peer.Dir(t.TempDir())}
	const senders = 4
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() { a.rememberSent(sentEntry{MessageID: fmt.Sprint(i), Left: true}) })
	}
	all.Wait()
	remembered := map[string]bool{}
	for _, s := range sentBefore(a.dir) {
		remembered[s.MessageID] = s.Left
	}
	if len(remembered) != senders {
		t.Errorf("remembered %v", remembered)
	}
	for i := range maxSent {
		a.rememberSent(sentEntry{MessageID: fmt.Sprint("later ", i)})
	}
	if list := sentBefore(a.dir); len(list) != maxSent || list[0].MessageID != "later 0" {
		t.Errorf("remembered %d, from %+v", len(list), list[0])
	}
}

// TestSentAtOnce checks which message a part of an id means.
func TestSentAtOnce(t *testing.T) {
	t.Parallel()
	a := &app{dir: peer.Dir(t.TempDir())}
	for _, s := range []sentEntry{
		{MeshID: "team", MessageID: "0198aaaa11112222"}, {MeshID: "team", MessageID: "0198aaaa33334444"},
		{MeshID: "team", MessageID: "55556666", Left: true}, {MeshID: "other", MessageID: "77778888"},
	} {
		a.rememberSent(s)
	}
	for id, want := range map[string]string{
		"0198aaaa11112222": "0198aaaa11112222", "33334444": "0198aaaa33334444", "0198aaaa": "", "55556666": "", "77778888": "", "aaaa1111": "",
	} {
		got := ""
		if s := a.sentAtOnce("team", id); s != nil {
			got = s.MessageID
		}
		if got != want {
			t.Errorf("%s means %q, want %q", id, got, want)
		}
	}
}

package cluster

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestForward(t *testing.T) {
	_, edge, owner, mesh := edgeAndOwner(t)
	client := netip.MustParseAddr("2001:db8::1")
	request := func() *http.Request {
		r, err := http.NewRequest(http.MethodPost, "http://mesh/join", strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", "10.0.0.1") // a client can't change who it is
		return r
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := edge.Forward(ctx, mesh, client, request())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if want := `POST /join from 2001:db8::1: {"a":1}`; answer.StatusCode != http.StatusAccepted || string(body) != want {
		t.Errorf("answer %d %q; want %q", answer.StatusCode, body, want)
	}
	if answer, err := owner.Forward(ctx, mesh, client, request()); answer != nil || err != nil {
		t.Errorf("the owner forwards to itself: %v, %v", answer, err)
	}
	others := edge.Others()
	if len(others) != 1 || others[0].ID != owner.ID {
		t.Fatalf("others: %v", others)
	}
	if answer, err = edge.ForwardTo(ctx, others[0], client, request()); err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
}

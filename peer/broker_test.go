package peer_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/brokertest"
	"github.com/claudemesh/claudemesh/internal/identitytest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// patience is the longest time that a test waits for an event.
const patience = await.Patience

// newTeam creates a mesh that Alice owns and Bob has joined.
func newTeam(t testing.TB, url string) (alice, bob peer.Mesh) {
	t.Helper()
	ctx, key := t.Context(), identitytest.Pair(t)
	created, err := peer.HTTP{BrokerURL: url}.CreateMesh(ctx, key, "team", "Team", "alice", "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	alice = peer.Mesh{
		MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: "team", Name: "Team",
		Member: key, BrokerURL: url, Key: envelope.NewMeshKey(),
	}
	owner, err := peer.Dial(ctx, peer.Options{Mesh: alice, About: peer.About{Capabilities: []string{wire.CapTransient}}, OneShot: true})
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	link, create, err := peer.NewLinkInvite(&alice, key.Public(), peer.InviteTerms{Role: "member", Uses: 1, ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.InviteCreate(ctx, create); err != nil {
		t.Fatal(err)
	}
	joined, err := peer.Join(ctx, peer.Dir(t.TempDir()), link, "bob", nil)
	if err != nil {
		t.Fatal(err)
	}
	return alice, joined.Mesh
}

// sessionClient is a client of a session, with the messages that it has received.
type sessionClient struct {
	*peer.Client
	pair          identity.KeyPair
	messages      chan peer.Incoming
	confirmations chan peer.Confirmation
}

func session(t *testing.T, m peer.Mesh, id string, pair identity.KeyPair, formerly ...peer.FormerSession) *sessionClient {
	t.Helper()
	s := &sessionClient{pair: pair, messages: make(chan peer.Incoming, 100), confirmations: make(chan peer.Confirmation, 100)}
	var err error
	s.Client, err = peer.Dial(t.Context(), peer.Options{
		Mesh: m, Session: pair, Formerly: formerly, TakesReceipts: true, About: peer.About{SessionID: id, Cwd: "/"},
		OnMessage:      func(_ context.Context, m peer.Incoming) error { s.messages <- m; return nil },
		OnConfirmation: func(_ context.Context, c peer.Confirmation) error { s.confirmations <- c; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func next[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("no %s came", what)
	}
	return v
}

func (s *sessionClient) send(t *testing.T, to wire.Target, text string) peer.Receipt {
	t.Helper()
	receipt, err := s.Send(t.Context(), peer.Outgoing{To: []wire.Target{to}, Body: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func TestThroughABroker(t *testing.T) {
	t.Parallel()
	aliceMesh, bobMesh := newTeam(t, brokertest.Start(t).URL())
	alice := session(t, aliceMesh, "11111111-1111-4111-8111-111111111111", identitytest.Pair(t))
	bob := session(t, bobMesh, "22222222-2222-4222-8222-222222222222", identitytest.Pair(t))
	toBob := wire.Target{Kind: wire.TargetKey, Key: bob.pair.Public()}

	rows, members, err := alice.Roster(t.Context())
	if err != nil || len(members) != 2 || len(rows) != 2 {
		t.Fatalf("got %+v, %+v, %v", rows, members, err)
	}
	for i := range rows {
		if verified, doubt := peer.VerifyRow(&rows[i], time.Now()); !verified {
			t.Errorf("%s is not verified: %s", rows[i].DisplayName, doubt)
		}
	}
	if r, err := alice.Resolve(t.Context(), "bob"); err != nil || r.Key != bob.pair.Public() || r.Member != bobMesh.Member.Public() || !r.Verified {
		t.Errorf("bob is %+v, %v", r, err)
	}

	sent := alice.send(t, toBob, "to bob")
	m := next(t, "message", bob.messages)
	if string(m.Body) != "to bob" || !m.Verified || m.Member != aliceMesh.Member.Public() || m.Sender != alice.pair.Public() || m.To != bob.pair.Public() || !m.WantsReceipt || m.ClientID != sent.ClientID {
		t.Errorf("direct: got %+v", m)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	if err := bob.Confirm(t.Context(), m.Sender, []peer.Confirmed{{ClientID: m.ClientID, State: peer.ConfirmedDelivered, At: at}}); err != nil {
		t.Fatal(err)
	}
	c := next(t, "receipt", alice.confirmations)
	if c.By != bob.pair.Public() || c.Member != bobMesh.Member.Public() || len(c.Messages) != 1 || c.Messages[0] != (peer.Confirmed{ClientID: sent.ClientID, State: peer.ConfirmedDelivered, At: at}) {
		t.Errorf("receipt: got %+v", c)
	}

	alice.send(t, wire.Target{Kind: wire.TargetAll}, "to all")
	if m := next(t, "message", bob.messages); string(m.Body) != "to all" || !m.Verified || m.Sealing != peer.InMesh || m.Member != aliceMesh.Member.Public() || m.WantsReceipt {
		t.Errorf("to all: got %+v", m)
	}
	if len(alice.messages)+len(bob.messages) > 0 {
		t.Error("more messages arrived than were sent")
	}
}

// TestSessionIsAwayAndSucceeded checks that a message that is sealed for a session while it
// is away can be opened when the session is back, and by its successor.
func TestSessionIsAwayAndSucceeded(t *testing.T) {
	t.Parallel()
	aliceMesh, bobMesh := newTeam(t, brokertest.Start(t).URL())
	alice := session(t, aliceMesh, "11111111-1111-4111-8111-111111111111", identitytest.Pair(t))
	bob := session(t, bobMesh, "22222222-2222-4222-8222-222222222222", identitytest.Pair(t))
	toBob := wire.Target{Kind: wire.TargetKey, Key: bob.pair.Public()}

	bob.Abandon()
	rows, err := alice.ListPeers(t.Context())
	if err != nil || len(rows) != 2 {
		t.Fatalf("an abandoned session has left: %+v, %v", rows, err)
	}
	alice.send(t, toBob, "one")
	back := session(t, bobMesh, "22222222-2222-4222-8222-222222222222", bob.pair)
	one := next(t, "message", back.messages)
	if string(one.Body) != "one" {
		t.Errorf("got %+v", one)
	}

	back.Abandon()
	alice.send(t, toBob, "two")
	heir := session(t, bobMesh, "33333333-3333-4333-8333-333333333333", identitytest.Pair(t), peer.FormerSession{Pair: bob.pair})
	alice.send(t, toBob, "three")
	for _, want := range []string{"two", "three"} {
		m := next(t, "message", heir.messages)
		if m.DedupeKey() == one.DedupeKey() { // abandoned before it had acknowledged that
			m = next(t, "message", heir.messages)
		}
		if string(m.Body) != want || m.To != bob.pair.Public() || !m.Verified {
			t.Errorf("the heir got %+v, want %s", m, want)
		}
	}
	if rows, err := alice.ListPeers(t.Context()); err != nil || len(rows) != 2 {
		t.Errorf("got %d rows, want Alice's and the heir's: %+v, %v", len(rows), rows, err)
	}
	// Bob's member vouches for the heir's receipts.
	if err := heir.Confirm(t.Context(), alice.pair.Public(), []peer.Confirmed{{ClientID: "x", State: peer.ConfirmedInContext, At: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	if c := next(t, "receipt", alice.confirmations); c.By != heir.pair.Public() || c.Member != bobMesh.Member.Public() {
		t.Errorf("got %+v", c)
	}
}

// TestWrongClock creates a mesh and claims an invite by a clock that is wrong.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	h := peer.HTTP{BrokerURL: brokertest.Start(t).URL()}
	for _, ahead := range []time.Duration{-3 * time.Minute, 0, 20 * time.Hour} {
		owner, clock := identitytest.Pair(t), func() time.Time { return time.Now().Add(ahead) }
		created, err := h.CreateMesh(t.Context(), owner, "team", "Team", "alice", "", clock())
		if err != nil {
			t.Fatalf("create a mesh with a clock that is %v ahead: %v", ahead, err)
		}
		m := peer.Mesh{
			MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: "team", Member: owner,
			BrokerURL: h.BrokerURL, Key: envelope.NewMeshKey(),
		}
		link, invite, err := peer.NewLinkInvite(&m, owner.Public(), peer.InviteTerms{Role: "member", Uses: 1, ExpiresAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		client, err := peer.Dial(t.Context(), peer.Options{Mesh: m})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.InviteCreate(t.Context(), invite); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Claim(t.Context(), link.Code, link.Secret.ClaimKey(), identitytest.Pair(t), "bob", clock()); err != nil {
			t.Errorf("claim an invite with a clock that is %v ahead: %v", ahead, err)
		}
	}
	_, err := h.CreateMesh(t.Context(), identitytest.Pair(t), "team", "Team", "alice", "", time.Now().Add(48*time.Hour))
	if err == nil || !strings.Contains(err.Error(), "this machine's clock differs") {
		t.Errorf("a clock that is two days ahead: %v", err)
	}
}

// TestFrameTooLarge checks that a frame that the broker refuses ends the connection and
// fails its message, but nothing else.
func TestFrameTooLarge(t *testing.T) {
	t.Parallel()
	aliceMesh, bobMesh := newTeam(t, brokertest.Start(t).URL())
	alice := session(t, aliceMesh, "11111111-1111-4111-8111-111111111111", identitytest.Pair(t))
	bob := session(t, bobMesh, "22222222-2222-4222-8222-222222222222", identitytest.Pair(t))
	to := wire.Target{Kind: wire.TargetKey, Key: bob.pair.Public()}
	var small sync.WaitGroup
	for i := range 20 { // in flight at the same time
		small.Go(func() { alice.send(t, to, fmt.Sprint(i)) })
	}
	var refused *peer.RefusedError
	_, err := alice.Send(t.Context(), peer.Outgoing{To: []wire.Target{to}, Body: make([]byte, 250_000)})
	if !errors.As(err, &refused) || !refused.Final || refused.Code != wire.AckPayloadTooLarge {
		t.Errorf("got %v", err)
	}
	small.Wait()
	alice.send(t, to, "after it")
	seen := make(map[string]bool)
	for !seen["after it"] {
		seen[string(next(t, "message", bob.messages).Body)] = true
	}
	if len(seen) != 21 {
		t.Errorf("got %v", seen)
	}
}

// TestSessionIsReplaced checks that if two clients have one session key, the later one
// stays.
func TestSessionIsReplaced(t *testing.T) {
	t.Parallel()
	aliceMesh, _ := newTeam(t, brokertest.Start(t).URL())
	pair := identitytest.Pair(t)
	first := session(t, aliceMesh, "11111111-1111-4111-8111-111111111111", pair)
	second := session(t, aliceMesh, "11111111-1111-4111-8111-111111111111", pair)
	deadline := time.After(patience)
	for {
		_, err := first.ListPeers(t.Context())
		if peer.IsReplaced(err) {
			break
		}
		if err != nil && !errors.Is(err, peer.ErrDisconnected) {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatalf("the first client was not replaced: %v", err)
		default:
		}
	}
	if rows, err := second.ListPeers(t.Context()); err != nil || len(rows) != 1 {
		t.Errorf("got %+v, %v", rows, err)
	}
}

// TestRosterIsKept checks that a client that keeps the roster is told that it changed. It
// then has the same roster as a client that asks for everything.
func TestRosterIsKept(t *testing.T) {
	t.Parallel()
	aliceMesh, bobMesh := newTeam(t, brokertest.Start(t).URL())
	changed := make(chan struct{}, 100)
	keeper, err := peer.Dial(t.Context(), peer.Options{
		Mesh: aliceMesh, About: peer.About{SessionID: "keeper", Cwd: "/", Hostname: "here"},
		OnRoster: func() { changed <- struct{}{} },
		OnSystem: func(p wire.SystemPush) { t.Errorf("OnSystem was called too: %s", p.Event) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keeper.Close)
	asker := session(t, aliceMesh, "11111111-1111-4111-8111-111111111111", identitytest.Pair(t))
	same := func(sessions int) {
		t.Helper()
		deadline := time.After(patience)
		for {
			next(t, "word of a change", changed)
			kept, err := keeper.ListPeers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all, err := asker.ListPeers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(all) == sessions && reflect.DeepEqual(kept, all) {
				return
			}
			select {
			case <-deadline:
				t.Fatalf("kept %+v, want %d rows: %+v", kept, sessions, all)
			default:
			}
		}
	}
	same(2)
	bob := session(t, bobMesh, "22222222-2222-4222-8222-222222222222", identitytest.Pair(t))
	same(3)
	if err := bob.SetProfile(t.Context(), wire.Profile{Title: "Builder"}); err != nil {
		t.Fatal(err)
	}
	same(3)
	bob.Close()
	same(2)
}

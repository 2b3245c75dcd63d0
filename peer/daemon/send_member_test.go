package daemon

import (
	"errors"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// TestErrorsForTheOwner checks that errors for a user at a command line name commands, and don't
// tell the reader to ask a user.
func TestErrorsForTheOwner(t *testing.T) {
	for _, tc := range []struct {
		err        error
		code, says string
	}{
		{&peer.NobodyError{Name: "bbo", Meant: `"bob"`}, local.CodeNotFound, "claudemesh peers"},
		{&inbox.ChangedKeyError{Name: "bob", Found: wire.Key{1}, Known: wire.Key{2}}, local.CodeRefused, "`claudemesh trust bob`"},
		{&inbox.ChangedKeyError{Name: "bob", Found: wire.Key{1}, Known: wire.Key{2}, Unproven: true}, local.CodeRefused, "a whole key"},
	} {
		var got *local.Error
		err := forOwner(tc.err)
		if !errors.As(err, &got) || got.Code != tc.code || !strings.Contains(got.Message, tc.says) || strings.Contains(got.Message, "your user") {
			t.Errorf("%v: %v, want %s with %q", tc.err, err, tc.code, tc.says)
		}
	}
	other := errors.New("something else")
	if err := forOwner(other); !errors.Is(err, other) {
		t.Errorf("%v became %v", other, err)
	}
}

// TestMemberSends checks that the member's messages are sent once, under the member's key, and
// that a session's token can't see them.
func TestMemberSends(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	a, b := alice.session().connected(), bob.session().connected()
	mesh := alice.status().Meshes[0].MeshID
	in := local.Send{To: b.key().String(), Text: "from alice herself", Priority: wire.Now, Mesh: mesh, ClientID: "alice-0001"}
	var sent local.Sent
	for range 2 {
		alice.must(local.VerbMemberSend, in, &sent)
	}
	var refusal *local.Error
	for verb, in := range map[string]any{local.VerbMemberSend: in, local.VerbMemberMessageStatus: local.MessageQuery{ID: sent.ID}} {
		if err := a.call(verb, in, nil); !errors.As(err, &refusal) || refusal.Code != local.CodeUnauthorized {
			t.Errorf("%s of a session: %v", verb, err)
		}
	}
	if err := a.call(local.VerbMessageStatus, local.MessageQuery{ID: sent.ID}, nil); !errors.As(err, &refusal) || refusal.Code != local.CodeNotFound {
		t.Errorf("status of the member's message, for a session: %v", err)
	}
	if err := a.call(local.VerbSend, local.Send{To: b.key().String(), Text: "x", ClientID: "alice-0001"}, nil); !errors.As(err, &refusal) || refusal.Code != local.CodeInvalid {
		t.Errorf("the same clientId of a session: %v", err)
	}
	for _, wrong := range []local.Send{{Text: "x", Mesh: mesh}, {To: in.To, Text: "x", Mesh: "nosuch"}, {To: in.To, Mesh: mesh}, {Text: "x", Mesh: mesh, ReplyTo: "0123456789"}} {
		if err := alice.owner(local.VerbMemberSend, wrong, nil); !errors.As(err, &refusal) || refusal.Code == local.CodeInternal {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	var got []local.Message
	await.Until(t, "the message has come", func() bool {
		var checked local.Checked
		b.must(local.VerbCheck, local.Check{ToolUseID: "call"}, &checked)
		got = append(got, checked.Messages...)
		return len(got) > 0
	})
	bob.must(local.VerbActivity, local.Activity{PID: b.pid(), SessionID: b.id, Ended: []string{"call"}}, nil)
	var status local.MessageStatus
	await.Until(t, "alice knows that it is read", func() bool {
		alice.must(local.VerbMemberMessageStatus, local.MessageQuery{ID: sent.ID}, &status)
		return status.State == local.InContext
	})
	if !status.Recipients[0].Signed || status.Recipients[0].Key != b.key() || status.MeshID != mesh || status.MessageID == "" {
		t.Errorf("status: %+v", status)
	}
	config, err := peer.LoadConfig(alice.dir)
	if err != nil {
		t.Fatal(err)
	}
	member := config.Meshes[0].Member.Public()
	if len(got) != 1 || got[0].Text != in.Text || got[0].Key != member || got[0].From != "alice" || !got[0].Verified {
		t.Errorf("bob's session got %+v, want a message from %s", got, member)
	}
}

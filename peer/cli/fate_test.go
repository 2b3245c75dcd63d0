package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

func TestFateRows(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	key, other := wire.Key{1}, wire.Key{2}
	row := func(k wire.Key, status string) wire.RecipientStatus {
		return wire.RecipientStatus{Name: "bob", Pubkey: k, Status: status}
	}
	signed := func(k wire.Key, s local.State) local.RecipientStatus {
		return local.RecipientStatus{Key: k, State: s, At: now, Reason: "too many", Signed: true}
	}
	for _, tc := range []struct {
		name     string
		state    local.State
		rows     []wire.RecipientStatus
		receipts []local.RecipientStatus
		want     string // of the statuses
	}{
		{"of the broker alone", "", []wire.RecipientStatus{row(key, "held")}, nil, "held"},
		{"not sent", local.Waiting, nil, nil, "waiting on this machine for the broker (why)"},
		{"never sent", local.Failed, nil, nil, "failed: the broker refuses it (why)"},
		{"no longer known", local.Forgotten, nil, nil, "forgotten by the broker (why)"},
		{"no longer known, but the broker has delivered it", local.Delivered, nil, nil, "delivered (why)"},
		{"nothing signed", local.Queued, []wire.RecipientStatus{row(key, "disconnected")}, nil, "disconnected"},
		{"signed for less than the broker says", local.Delivered, []wire.RecipientStatus{row(key, "delivered")}, []local.RecipientStatus{signed(key, local.Delivered)}, "delivered"},
		{"read", local.InContext, []wire.RecipientStatus{row(key, "delivered")}, []local.RecipientStatus{signed(key, local.InContext)}, "read"},
		{"read by a session of the member", local.InContext, []wire.RecipientStatus{row(key, "delivered")}, []local.RecipientStatus{signed(other, local.InContext)}, "read"},
		{"refused", local.Refused, []wire.RecipientStatus{row(key, "delivered")}, []local.RecipientStatus{signed(key, local.Refused)}, "refused by the recipient (too many)"},
		{"one of two", local.Delivered, []wire.RecipientStatus{row(key, "delivered"), row(other, "held")}, []local.RecipientStatus{signed(key, local.InContext)}, "read|held"},
	} {
		f := &fate{State: tc.state, Reason: "why", Receipts: tc.receipts, to: "bob", since: now}
		f.Recipients = tc.rows
		var got []string
		for _, r := range f.rows(now)[1:] {
			if r[0] != "bob" {
				t.Errorf("%s: recipient %q", tc.name, r[0])
			}
			got = append(got, r[2])
		}
		if s := strings.Join(got, "|"); s != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, s, tc.want)
		}
	}
}

func TestStateText(t *testing.T) {
	for state, want := range map[local.State]string{
		local.Waiting: "kept for bob\\u{1B} on this machine", local.Queued: "accepted for", local.Delivered: "delivered to", local.InContext: "read by",
		local.Expired: "did not fetch it", local.Refused: "refused by", local.Failed: "refuses it", local.Forgotten: "no longer knows", "of a newer daemon": "of a newer daemon, to",
	} {
		if got := stateText(state, "bob\x1b"); !strings.Contains(got, want) || strings.Contains(got, "\x1b") {
			t.Errorf("%s: %q, want %q", state, got, want)
		}
	}
}

func TestWhyUnread(t *testing.T) {
	signed := local.RecipientStatus{Signed: true}
	for _, tc := range []struct {
		state local.State
		row   local.RecipientStatus
		want  string
	}{
		{local.Queued, local.RecipientStatus{}, ""},
		{local.Waiting, local.RecipientStatus{}, ""},
		{local.Delivered, signed, ""},
		{local.Delivered, local.RecipientStatus{}, "has not signed a receipt"},
		{local.Delivered, local.RecipientStatus{Name: "bob", Signed: true, CannotRead: "hooks are off"}, "bob can't read messages (hooks are off)"},
	} {
		got := whyUnread(&local.MessageStatus{State: tc.state, Recipients: []local.RecipientStatus{tc.row}})
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s, %+v: %q, want %q", tc.state, tc.row, got, tc.want)
		}
	}
}

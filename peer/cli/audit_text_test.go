package cli

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/wire"
)

// TestAuditText checks that every kind of entry becomes a sentence without long ids.
func TestAuditText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 5, 12, 0, 0, 0, time.Local)
	id := func(b byte) (id wire.ID) { id[len(id)-1] = b; return id }
	alice, bob, other, gone := id(1), id(2), id(3), id(0xcd)
	members := []wire.MemberRow{
		{ID: alice, Pubkey: wire.Key{1}, DisplayName: "alice"}, {ID: bob, Pubkey: wire.Key{2}, DisplayName: "bob"},
		{ID: other, Pubkey: wire.Key{3}, DisplayName: "bob", Removed: true},
	}
	names := newMemberNames(members, wire.Key{1})
	for _, tc := range []struct {
		actor  wire.ID
		detail audit.Detail
		want   string
	}{
		{alice, audit.MeshCreatedDetail{Slug: "team"}, "alice (you) created the mesh team"},
		{alice, audit.MemberJoinedDetail{Member: alice, Role: "owner"}, "alice (you) joined as owner"},
		{bob, audit.MemberJoinedDetail{Member: bob, Role: "member", Invite: id(0xab)}, "bob (02000000) joined as member with the invite 000000ab"},
		{alice, audit.MemberRemovedDetail{Member: other}, "alice (you) removed bob (03000000)"},
		{bob, audit.MemberRemovedDetail{Member: bob}, "bob (02000000) left the mesh"},
		{alice, audit.MemberBannedDetail{Member: gone}, "alice (you) banned the member 000000cd"},
		{alice, audit.MemberUnbannedDetail{Member: gone}, "alice (you) let the member 000000cd in again"},
		{alice, audit.RoleChangedDetail{Member: bob, From: "member", To: "admin"}, "alice (you) made bob (02000000) admin (before: member)"},
		{alice, audit.InviteCreatedDetail{Invite: id(0xab), Role: "member", Uses: 1, ExpiresAt: now.Add(time.Hour).UnixMilli()}, "alice (you) made the invite 000000ab: once, as member, valid until 13:00:00"},
		{alice, audit.InviteRevokedDetail{Invite: id(0xab)}, "alice (you) revoked the invite 000000ab"},
		{bob, audit.PeerJoinedDetail{Member: bob}, "bob (02000000) connected"},
		{bob, audit.PeerReturnedDetail{Member: bob}, "bob (02000000) came back"},
		{bob, audit.PeerLeftDetail{Member: bob}, "bob (02000000) disconnected"},
		{alice, audit.PeerKickedDetail{Member: bob}, "alice (you) kicked bob (02000000)"},
		{bob, audit.LogRestoredDetail{Size: 7}, "the broker was restored from a backup; what it did after entry 7, until now, is not in this log"},
		{bob, audit.RoutedDetail{Message: id(0xef), Target: audit.Direct, Recipients: 1, Bytes: 60, Priority: wire.Next}, "bob (02000000) sent the message 000000ef to one peer, 60 bytes"},
		{bob, audit.RoutedDetail{Message: id(0xef), Target: audit.Group, Recipients: 3, Bytes: 60, Priority: wire.Now}, "bob (02000000) sent the message 000000ef to a group, 3 recipients, 60 bytes, priority now"},
	} {
		e, _ := audit.Extend(audit.Head{}, audit.NewEvent(wire.ID{1}, now, tc.actor.String(), tc.detail))
		row := audit.Row(e)
		if got := auditText(&row, &names, now); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
	for _, row := range []wire.AuditRow{{Kind: "new_kind", Actor: "broker", Detail: []byte(`{"x":1}`)}, {Kind: "new_kind", Actor: "broker", Detail: []byte(`7`)}} {
		if got, want := auditText(&row, &names, now), "new_kind by the broker: "+string(row.Detail); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

package tests

import (
	"reflect"
	"testing"
)

// TestV1Questions sends the requests that v1 clients send by themselves or for their users.
func TestV1Questions(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"features that the broker lacks", emptyAnswers},
		{"mesh_info", meshInfo},
		{"names of a presence", presenceNames},
		{"a profile is merged", mergedProfile},
		{"wording of refusals", wordsOfRefusals},
	})
}

func emptyAnswers(t *testing.T, s *server) {
	c := newTeam(t, s).join(t, "bob").session(t, newKeys())
	for _, test := range []struct{ ask, want frame }{
		{frame{"type": "list_skills"}, frame{"type": "skill_list", "skills": []any{}}},
		{frame{"type": "get_skill", "name": "x"}, frame{"type": "skill_data", "skill": nil}},
		{frame{"type": "list_state"}, frame{"type": "state_list", "entries": []any{}}},
		{frame{"type": "get_state", "key": "k"}, frame{"type": "state_result", "key": "k", "value": nil, "updatedBy": "", "updatedAt": ""}},
		{frame{"type": "recall", "query": "x"}, frame{"type": "memory_results", "memories": []any{}}},
		{frame{"type": "topic_list"}, frame{"type": "topic_list_response", "topics": []any{}}},
		{frame{"type": "list_tasks"}, frame{"type": "task_list", "tasks": []any{}}},
	} {
		got := c.request(test.ask)
		delete(got, "_reqId")
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s is answered with %s", test.ask, got)
		}
	}
	for _, also := range []string{"state_value", "state_value", "memory_recall_result"} {
		if f := c.await(also, ofType(also)); f.str("_reqId") == "" {
			t.Errorf("%s", f)
		}
	}
}

func meshInfo(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	c := bob.session(t, newKeys(), "displayName", "claude", "groups", []frame{{"name": "dev", "role": "lead"}})
	m.owner.daemon(t, "groups", []frame{{"name": "dev"}, {"name": "ops"}})
	hidden := m.join(t, "carol").daemon(t, "groups", []frame{{"name": "secret"}})
	hidden.request(frame{"type": "set_visible", "visible": false})
	got := c.request(frame{"type": "mesh_info"})
	delete(got, "_reqId")
	want := frame{
		"type": "mesh_info_result", "mesh": m.id, "peers": 2.0, "groups": []any{"@dev", "@ops"}, "stateKeys": []any{}, "memoryCount": 0.0,
		"fileCount": 0.0, "tasks": map[string]any{"open": 0.0, "claimed": 0.0, "done": 0.0}, "streams": []any{}, "tables": []any{},
		"collections": []any{}, "yourName": "claude", "yourGroups": []any{map[string]any{"name": "dev", "role": "lead"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// presenceNames checks that v1 clients see a session's own name and role.
func presenceNames(t *testing.T, s *server) {
	m := newTeam(t, s)
	key := newKeys()
	c := m.owner.session(t, key, "displayName", "release")
	if got := c.ack.str("memberDisplayName"); got != "release" {
		t.Errorf("hello_ack says %q", got)
	}
	if got := m.owner.session(t, newKeys(), "displayName", nil).ack.str("memberDisplayName"); got != "owner" {
		t.Errorf("hello_ack says %q", got)
	}
	row := c.row(sessionID(key))
	if role, there := row["role"]; there || row.str("memberRole") != "owner" {
		t.Errorf("role %v in %s", role, row)
	}
}

func mergedProfile(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob").daemon(t)
	watching := m.owner.daemon(t)
	bob.request(frame{"type": "set_profile", "avatar": "🦊", "title": "fox", "bio": "b", "capabilities": []string{"go"}})
	bob.request(frame{"type": "set_profile", "title": "vixen", "bio": nil})
	want := map[string]any{"avatar": "🦊", "title": "vixen", "bio": "b", "capabilities": []any{"go"}}
	if got := watching.row("daemon-bob")["profile"]; !reflect.DeepEqual(got, want) {
		t.Errorf("profile %v", got)
	}
	bob.request(frame{"type": "set_profile", "avatar": "", "capabilities": []string{}})
	if got := watching.row("daemon-bob")["profile"]; !reflect.DeepEqual(got, map[string]any{"title": "vixen", "bio": "b"}) {
		t.Errorf("profile %v", got)
	}
}

// wordsOfRefusals provokes final refusals, which v1 sessions must recognize as final.
func wordsOfRefusals(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	c := bob.session(t, key)
	other := newKeys()
	blocking := m.join(t, "carol")
	blocking.daemon(t).request(frame{"type": "grant_set", "pubkey": bob.keys.hex, "capabilities": []string{}})
	big := make([]byte, 90_000)
	for what, f := range map[string]frame{
		"too big":             draft("@all", string(big)),
		"unknown key":         draft(other.hex, "x"),
		"own key":             draft(key.hex, "x"),
		"topic":               draft("#nope", "x"),
		"blocked":             draft(blocking.keys.hex, "x"),
		"bad priority":        draft("@all", "x", "priority", "soon"),
		"bad target":          draft("@a b", "x"),
		"no target":           draft([]string{}, "x"),
		"bad nonce":           draft("@all", "x", "nonce", "!"),
		"long client id":      draft("@all", "x", "client_message_id", string(big[:200])),
		"too many to":         draft(make([]string, 300), "x"),
		"no targetSpec":       draft(nil, "x"),
		"mentions not a list": draft("@all", "x", "mentions", "bob"),
	} {
		if why := c.refused(f); !finalForSessions.MatchString(why) {
			t.Errorf("%s: a v1 session sends it again after %q", what, why)
		}
	}
}

package cli

import (
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/peer/inbox"
)

func TestAnswerTo(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("ab", 32)
	for name, tc := range map[string]struct {
		m        inbox.Stored
		toAll    bool
		to, says string
	}{
		"the sender":               {inbox.Stored{Sender: key, To: []string{"@ops"}}, false, key, ""},
		"the group":                {inbox.Stored{Sender: key, To: []string{"@ops"}}, true, "@ops", ""},
		"everybody":                {inbox.Stored{Sender: key, To: []string{"*"}}, true, "*", ""},
		"nobody else was meant":    {inbox.Stored{Sender: key}, true, "", "wasn't sent to a group"},
		"several":                  {inbox.Stored{MessageID: "m1", Sender: key, To: []string{"@ops", "@a b"}}, true, "", "send '@ops' --reply-to m1"},
		"a sender that is unknown": {inbox.Stored{}, false, "", "is unknown"},
	} {
		to, err := answerTo(&tc.m, tc.toAll)
		if to != tc.to || (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %q, %v", name, to, err)
		}
	}
}

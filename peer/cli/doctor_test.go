package cli

import (
	"testing"

	"github.com/claudemesh/claudemesh/peer/local"
)

// TestUnableText checks that doctor says why a session can't read its messages, and what to
// do.
func TestUnableText(t *testing.T) {
	t.Parallel()
	const head = "session 01234567 in /src can't read its messages: "
	for why, want := range map[string]string{
		local.NoHooks:  "hooks are off on that machine; turn the hooks on, as the check \"hooks\" says; the session then reads messages from its next prompt on",
		local.NoTool:   "its claudemesh tool does not run; type /mcp in the session and reconnect the claudemesh server, or end the session and resume it with `claudemesh launch --resume`",
		local.NoPlugin: "it was started without claudemesh's plugin; end the session and resume it with `claudemesh launch --resume`, without the options that keep the plugin out",
	} {
		if got := unableText(&local.SessionStatus{SessionID: "01234567-89ab", Cwd: "/src", CannotRead: why}); got != head+want {
			t.Errorf("%s: got %q", why, got)
		}
	}
}

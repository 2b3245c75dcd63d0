package cli

import (
	"bytes"
	"strings"
	"testing"
)

// TestQRCode checks that a terminal shows the QR code of a link, unless the link only works
// on this machine.
func TestQRCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		flags           inviteFlags
		terminal, local bool
		want            bool
	}{
		{inviteFlags{}, true, false, true},
		{inviteFlags{}, true, true, false},
		{inviteFlags{}, false, false, false},
		{inviteFlags{qr: true}, false, true, true},
		{inviteFlags{noQR: true}, true, false, false},
	} {
		var out, errOut bytes.Buffer
		a := &app{out: &out, err: &errOut, terminal: tc.terminal}
		if err := a.printInvite(&tc.flags, tc.local, invited{Link: "https://mesh.example.com/i/x#y", Role: "member", Uses: 1}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "█") != tc.want || strings.Contains(errOut.String(), "only works on this machine") != tc.local {
			t.Errorf("%+v:\n%s%s", tc, out.String(), errOut.String())
		}
	}
	for broker, here := range map[string]bool{
		"ws://127.0.0.1:7900/ws": true, "ws://LOCALHOST/ws": true, "wss://[::1]/ws": true, "ws://127.3.4.5/ws": true,
		"wss://mesh.example.com/ws": false, "ws://192.168.1.5:7900/ws": false, "wss://localhost.example.com/ws": false,
	} {
		if isLoopback(broker) != here {
			t.Errorf("%s: %v", broker, !here)
		}
	}
}

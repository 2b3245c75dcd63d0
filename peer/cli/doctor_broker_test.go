package cli

import "testing"

func TestProxyWarning(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		broker, client string
		hides          bool
	}{
		{"wss://mesh.example.com/ws", "127.0.0.1", true},
		{"wss://mesh.example.com/mesh/ws", "::1", true},
		{"wss://mesh.example.com/ws", "192.0.2.7", false},
		{"wss://mesh.example.com/ws", "", false},
		{"ws://127.0.0.1:7900/ws", "127.0.0.1", false},
		{"ws://localhost:7900/ws", "127.0.0.1", false},
	} {
		if got := proxyWarning(test.broker, test.client); (got != "") != test.hides {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

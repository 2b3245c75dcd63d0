package peer

import (
	"strings"
	"testing"
)

func TestParseBrokerURL(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"wss://mesh.example.org/ws":      "wss://mesh.example.org/ws",
		"wss://mesh.example.org":         "wss://mesh.example.org/ws",
		"wss://mesh.example.org/":        "wss://mesh.example.org/ws",
		" ws://127.0.0.1:7900/ws/ ":      "ws://127.0.0.1:7900/ws",
		"WS://[::1]:7900/ws":             "ws://[::1]:7900/ws",
		"https://mesh.example.org":       "wss://mesh.example.org/ws",
		"https://mesh.example.org/below": "wss://mesh.example.org/below/ws",
		"http://localhost:7900/ws":       "ws://localhost:7900/ws",
		"wss://mesh.example.org/socket":  "wss://mesh.example.org/socket",
		"ws://h/ws?a=b#c":                "ws://h/ws?a=b",
	} {
		got, err := ParseBrokerURL(typed)
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", typed, got, err, want)
		}
		m := testMesh(t, "m1", "team")
		m.BrokerURL = got
		if err := m.check(); err != nil {
			t.Errorf("%q: the config refuses %q: %v", typed, got, err)
		}
	}
	for _, typed := range []string{
		"", "localhost", "localhost:7900", "127.0.0.1:7900", "mesh.example.org/ws", "//h/ws", "ftp://h/ws", "ws://", "ws:///ws", "ws:h",
		"ws://:7900/ws", "ws://h:99999/ws", "ws://h:x/ws", "ws://u:secret@h/ws", "https://u:secret@h", "ws://h\x1b[31m/ws", "ws://[::1/ws",
	} {
		got, err := ParseBrokerURL(typed)
		if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %q, %v", typed, got, err)
		}
	}
}

// TestConfigStaysReadable checks that no change of the config makes it a file that can't be read.
func TestConfigStaysReadable(t *testing.T) {
	t.Parallel()
	dir := Dir(t.TempDir())
	put := func(m Mesh) error {
		return UpdateConfig(t.Context(), dir, func(c *Config) error { c.Put(m); return nil })
	}
	good, bad := testMesh(t, "m1", "team"), testMesh(t, "m2", "other")
	if err := put(good); err != nil {
		t.Fatal(err)
	}
	bad.BrokerURL = "ws://user:secret@h/ws"
	if err := put(bad); err == nil {
		t.Error("a mesh that can't be read back is in the config")
	}
	c, err := LoadConfig(dir)
	if err != nil || len(c.Meshes) != 1 || c.Meshes[0].Member.Public() != good.Member.Public() {
		t.Errorf("got %v, %v, want the first mesh alone", c, err)
	}
}

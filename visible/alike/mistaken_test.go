package alike

import (
	"strings"
	"testing"
)

func TestNoNewName(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("3fa9", 16)
	for _, name := range []string{
		"", " ", "\u200b", "\u2800", "\u3164", "a\u200bb", "bob\n", "\u202ebob",
		"@all", "@ops", " @ops", "＠all", "*", "＊", "#x", "＃topic",
		key, strings.ToUpper(key), key[:16], key[:8], "deadbeef", "DeadBeef", " deadbeef ", "1234567890123456",
		"0190a4c2-7b1e-7c3d-8f00-123456789abc", "ｄｅａｄｂｅｅｆ", "de\u0430dbeef", // a Cyrillic а
	} {
		if NoNewName(name) == "" {
			t.Errorf("%q was accepted as a name", name)
		}
	}
	for _, name := range []string{
		"bob", "Ålice", "李雷", "anna-lena", "deadbee", "accolade", "12345678", "123456789012345", "2024-11-26",
		"bob@home", "c#", "a*b", "👩‍💻", "peer-3fa93fa93fa93fa9", "Jean Luc", "0190a4c2 office",
	} {
		if why := NoNewName(name); why != "" {
			t.Errorf("%q was refused as a name: a name can't %s", name, why)
		}
	}
}

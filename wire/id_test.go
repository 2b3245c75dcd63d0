package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestIDsRiseEvenIfTheClockDoesNot(t *testing.T) {
	t.Parallel()
	var ids IDSource
	start := time.UnixMilli(1_795_460_363_351)
	last := ids.New(start)
	if !last.Time().Equal(start) {
		t.Errorf("got time %v, want %v", last.Time(), start)
	}
	for _, step := range []time.Duration{0, 0, -time.Hour, time.Millisecond, -time.Minute, 2 * time.Millisecond, 0} {
		for range 5000 { // more than the counter of one millisecond holds
			id := ids.New(start.Add(step))
			if id.String() <= last.String() {
				t.Fatalf("got id %s after %s, want a greater one", id, last)
			}
			last = id
		}
	}
	later := start.Add(time.Hour)
	if id := ids.New(later); !id.Time().Equal(later) {
		t.Errorf("got time %v, want %v", id.Time(), later)
	}
}

func TestIDIsAUUIDv7(t *testing.T) {
	t.Parallel()
	var ids IDSource
	for range 100 {
		id := ids.New(time.Now())
		if id[6]>>4 != 7 || id[8]>>6 != 2 {
			t.Fatalf("version or variant of %s", id)
		}
		if s := id.String(); len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
			t.Fatalf("text %q", s)
		}
	}
}

func TestIDsAreUniqueUnderConcurrency(t *testing.T) {
	t.Parallel()
	var ids IDSource
	var seen sync.Map
	var group sync.WaitGroup
	now := time.Now()
	for range 8 {
		group.Go(func() {
			for range 1000 {
				if _, twice := seen.LoadOrStore(ids.New(now), true); twice {
					t.Error("two ids are equal")
				}
			}
		})
	}
	group.Wait()
}

func TestIDText(t *testing.T) {
	t.Parallel()
	const text = "019aab2b9fd77c3e8b1a000102030405"
	id, err := ParseID(text)
	if err != nil || id.String() != text || id.IsZero() {
		t.Fatalf("got %s, %v", id, err)
	}
	for _, bad := range []string{"", text[:31], text + "0", strings.ToUpper(text), "019aab2b-9fd7-7c3e-8b1a-000102030405", strings.Repeat("g", 32)} {
		if _, err := ParseID(bad); !errors.Is(err, ErrBadID) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	var v struct{ A, B ID }
	if err := json.Unmarshal([]byte(`{"A":"`+text+`","B":""}`), &v); err != nil || v.A != id || !v.B.IsZero() {
		t.Errorf("got %+v, %v", v, err)
	}
	if out, err := json.Marshal(v); err != nil || string(out) != `{"A":"`+text+`","B":""}` {
		t.Errorf("got %s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"A":"x"}`), &v); !errors.Is(err, ErrBadID) {
		t.Errorf("got %v", err)
	}
}

func TestKeyAndSignatureText(t *testing.T) {
	t.Parallel()
	key, err := ParseKey(keyA)
	if err != nil || key.String() != keyA || key.Short() != keyA[:8] || key.IsZero() {
		t.Fatalf("got %s, %v", key, err)
	}
	for _, bad := range []string{"", keyA[:63], keyA + "0", strings.ToUpper(keyA), strings.Repeat("g", 64)} {
		if _, err := ParseKey(bad); !errors.Is(err, ErrBadKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	sig, err := ParseSignature(keyA + keyB)
	if err != nil || sig.String() != keyA+keyB {
		t.Fatalf("got %s, %v", sig, err)
	}
	for _, bad := range []string{"", keyA, keyA + strings.ToUpper(keyB)} {
		if _, err := ParseSignature(bad); !errors.Is(err, ErrBadSignatureText) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	v := struct {
		K Key
		S Signature
	}{key, sig}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	got := v
	got.K, got.S = Key{}, Signature{}
	if err := json.Unmarshal(text, &got); err != nil || got != v {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"K":""}`), &got); !errors.Is(err, ErrBadKey) {
		t.Errorf("got %v", err)
	}
	if err := json.Unmarshal([]byte(`{"S":"00"}`), &got); !errors.Is(err, ErrBadSignatureText) {
		t.Errorf("got %v", err)
	}
}

func TestSigningTexts(t *testing.T) {
	t.Parallel()
	a, b := mustKey(t, keyA), mustKey(t, keyB)
	for got, want := range map[string]string{
		HelloSigningText("m", "i", keyA, 5):                            "m|i|" + keyA + "|5",
		AttestationSigningText(a, b, 5):                                "claudemesh-session-attest|" + keyA + "|" + keyB + "|5",
		SessionHelloSigningText("m", a, b, 5):                          "claudemesh-session-hello|m|" + keyA + "|" + keyB + "|5",
		InviteV1SigningText("m", "s", "ws://x/ws", 5, "r", "o", "k"):   "1|m|s|ws://x/ws|5|r|o|k",
		InviteV2SigningText("m", "i", 5, "member", "k"):                "v=2|m|i|5|member|k",
		ClaimSigningText("c", a, -5):                                   "claudemesh-claim|c|" + keyA + "|-5",
		CreateMeshSigningText("s", "a|b", "x\"y", a, 5):                "claudemesh-create-mesh|" + keyA + `|5|s|3|a|b|x"y`,
		(&InviteV1{V: 1, MeshID: "m", MeshSlug: "s"}).SigningText():    "1|m|s||0|||",
		string(NewError(CodeInvalid, "x", "r").Code) + "|" + TypeError: "invalid|error",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

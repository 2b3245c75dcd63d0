package identity

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

var testNow = time.UnixMilli(1795460356414)

// helloFrame has the signed fields of v1 clients' hello and session_hello.
type helloFrame struct {
	Type, MeshID, MemberID                    string
	Pubkey, ParentMemberPubkey, SessionPubkey wire.Key
	ParentAttestation                         Attestation
	Timestamp                                 int64
	Signature                                 wire.Signature
}

func (f helloFrame) verify(now time.Time) error {
	if f.Type == "hello" {
		return VerifyHello(f.MeshID, f.MemberID, f.Pubkey, f.Timestamp, f.Signature, now)
	}
	return VerifySessionHello(f.MeshID, f.ParentMemberPubkey, f.SessionPubkey, f.Timestamp, f.Signature, now)
}

func loadFrames(t *testing.T) []helloFrame {
	t.Helper()
	file, err := os.Open("testdata/hello-frames.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var frames []helloFrame
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line struct{ Frame helloFrame }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, line.Frame)
	}
	if len(frames) != 3 {
		t.Fatalf("%d frames, want 3", len(frames))
	}
	return frames
}

func TestHellosOfV1Clients(t *testing.T) {
	t.Parallel()
	for _, f := range loadFrames(t) {
		now := time.UnixMilli(f.Timestamp)
		if err := f.verify(now); err != nil {
			t.Errorf("%s: %v", f.Type, err)
		}
		if f.Type == "session_hello" {
			a := f.ParentAttestation
			if err := a.Binds(f.ParentMemberPubkey, f.SessionPubkey); err != nil {
				t.Errorf("attestation: %v", err)
			}
			if err := a.Verify(now); err != nil {
				t.Errorf("attestation: %v", err)
			}
		}
		if err := f.verify(now.Add(time.Hour)); !errors.Is(err, ErrTimestampSkew) {
			t.Errorf("%s an hour later: %v", f.Type, err)
		}
		for name, change := range map[string]func(*helloFrame){
			"mesh":    func(f *helloFrame) { f.MeshID += "x" },
			"member":  func(f *helloFrame) { f.MemberID += "x"; f.ParentMemberPubkey[0] ^= 1 },
			"key":     func(f *helloFrame) { f.Pubkey[0] ^= 1; f.SessionPubkey[0] ^= 1 },
			"time":    func(f *helloFrame) { f.Timestamp++ },
			"nothing": func(f *helloFrame) {},
		} {
			changed := f
			change(&changed)
			want := ErrBadSignature
			if name == "nothing" {
				want = nil
			}
			if err := changed.verify(now); !errors.Is(err, want) {
				t.Errorf("%s with another %s: got %v, want %v", f.Type, name, err, want)
			}
		}
	}
}

func TestHelloSkew(t *testing.T) {
	t.Parallel()
	member, session := generate(t), generate(t)
	ts, sig := SignHello(member, "mesh", "member", testNow)
	sts, ssig := SignSessionHello(session, "mesh", member.Public(), testNow)
	if ts != testNow.UnixMilli() || sts != ts {
		t.Fatalf("timestamps %d, %d", ts, sts)
	}
	for _, tc := range []struct {
		name string
		now  time.Time
		want error
	}{
		{"exact", testNow, nil},
		{"60 s old", testNow.Add(MaxSkew), nil},
		{"60 s and less than a millisecond old", testNow.Add(MaxSkew + 999*time.Microsecond), nil},
		{"60,001 ms old", testNow.Add(MaxSkew + time.Millisecond), ErrTimestampSkew},
		{"60 s ahead", testNow.Add(-MaxSkew), nil},
		{"60,001 ms ahead", testNow.Add(-MaxSkew - time.Millisecond), ErrTimestampSkew},
	} {
		if err := VerifyHello("mesh", "member", member.Public(), ts, sig, tc.now); !errors.Is(err, tc.want) {
			t.Errorf("hello, %s: got %v, want %v", tc.name, err, tc.want)
		}
		if err := VerifySessionHello("mesh", member.Public(), session.Public(), sts, ssig, tc.now); !errors.Is(err, tc.want) {
			t.Errorf("session hello, %s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestHelloSkewComesBeforeSignature(t *testing.T) {
	t.Parallel()
	for _, timestamp := range []int64{0, -1 << 63, 1<<63 - 1} {
		if err := VerifyHello("", "", wire.Key{}, timestamp, wire.Signature{}, testNow); !errors.Is(err, ErrTimestampSkew) {
			t.Errorf("hello at %d: %v", timestamp, err)
		}
		if err := VerifySessionHello("", wire.Key{}, wire.Key{}, timestamp, wire.Signature{}, testNow); !errors.Is(err, ErrTimestampSkew) {
			t.Errorf("session hello at %d: %v", timestamp, err)
		}
	}
}

// TestHelloKindsAreNotInterchangeable checks that a signature for one purpose is not valid
// for another.
func TestHelloKindsAreNotInterchangeable(t *testing.T) {
	t.Parallel()
	k := generate(t)
	ts, hello := SignHello(k, "mesh", k.Public().String(), testNow)
	_, session := SignSessionHello(k, "mesh", k.Public(), testNow)
	if err := VerifySessionHello("mesh", k.Public(), k.Public(), ts, hello, testNow); !errors.Is(err, ErrBadSignature) {
		t.Errorf("hello accepted as a session hello: %v", err)
	}
	if err := VerifyHello("mesh", k.Public().String(), k.Public(), ts, session, testNow); !errors.Is(err, ErrBadSignature) {
		t.Errorf("session hello accepted as a hello: %v", err)
	}
}

func TestAttestation(t *testing.T) {
	t.Parallel()
	member, session, other := generate(t), generate(t).Public(), generate(t)
	valid := Attest(member, session, testNow.Add(DefaultAttestationTTL))
	for _, tc := range []struct {
		name string
		a    Attestation
		now  time.Time
		want error
	}{
		{"12 h", valid, testNow, nil},
		{"last millisecond", valid, testNow.Add(DefaultAttestationTTL - time.Millisecond), nil},
		{"at its expiry", valid, testNow.Add(DefaultAttestationTTL), ErrExpired},
		{"24 h", Attest(member, session, testNow.Add(MaxAttestationTTL)), testNow, nil},
		{"24 h and 1 ms", Attest(member, session, testNow.Add(MaxAttestationTTL+time.Millisecond)), testNow, ErrTTLTooLong},
		{"zero", Attestation{}, testNow, ErrExpired},
		{"unsigned until the end of time", Attestation{ExpiresAt: 1<<63 - 1}, testNow, ErrTTLTooLong},
		{"unsigned", Attestation{SessionPubkey: session, ParentMemberPubkey: member.Public(), ExpiresAt: valid.ExpiresAt}, testNow, ErrBadSignature},
		{"longer than signed", Attestation{session, member.Public(), valid.ExpiresAt + 1, valid.Signature}, testNow, ErrBadSignature},
		{"for another session", Attestation{other.Public(), member.Public(), valid.ExpiresAt, valid.Signature}, testNow, ErrBadSignature},
		{"by another member", Attestation{session, other.Public(), valid.ExpiresAt, valid.Signature}, testNow, ErrBadSignature},
	} {
		if err := tc.a.Verify(tc.now); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestAttestationBinds(t *testing.T) {
	t.Parallel()
	member, session, other := generate(t), generate(t).Public(), generate(t).Public()
	a := Attest(member, session, testNow)
	if err := a.Binds(member.Public(), session); err != nil {
		t.Errorf("its own keys: %v", err)
	}
	for name, err := range map[string]error{
		"other member":  a.Binds(other, session),
		"other session": a.Binds(member.Public(), other),
		"swapped":       a.Binds(session, member.Public()),
	} {
		if !errors.Is(err, ErrAttestationMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

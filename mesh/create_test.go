package mesh

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	d, owner := NewDirectory(newMemStore(), roomForAll), newKey(t)
	m, member, err := d.Create(t.Context(), createBody(owner, testNow, nil), testNow.Add(999*time.Microsecond))
	if err != nil {
		t.Fatal(err)
	}
	if m.Owner != owner.Public() || m.Slug != "team.x-1" || m.Name != "Team “X”" || !m.CreatedAt.Equal(testNow) {
		t.Errorf("got mesh %+v", m)
	}
	v, err := d.Get(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := v.Member(owner.Public())
	if !ok || got.ID != member.ID || got.Role != Owner || got.DisplayName != "Zoë" || got.MeshID != m.ID {
		t.Errorf("got owner %+v", got)
	}
}

func TestCreateRefusals(t *testing.T) {
	t.Parallel()
	minute := time.Minute.Milliseconds()
	cases := []struct {
		name   string
		signed func(*wire.CreateMesh) // changes the request before it is signed
		after  func(*wire.CreateMesh) // changes the signed request
		code   wire.Code
	}{
		{"longest names", func(c *wire.CreateMesh) {
			c.Slug, c.Name, c.DisplayName = strings.Repeat("a", 64), strings.Repeat("é", 64), strings.Repeat("x", 128)
		}, nil, ""},
		{"oldest timestamp", func(c *wire.CreateMesh) { c.Timestamp -= minute }, nil, ""},
		{"newest timestamp", func(c *wire.CreateMesh) { c.Timestamp += minute }, nil, ""},
		{"no slug", func(c *wire.CreateMesh) { c.Slug = "" }, nil, wire.CodeMalformed},
		{"hidden slug", func(c *wire.CreateMesh) { c.Slug = ".ssh" }, nil, wire.CodeMalformed},
		{"slug with a path", func(c *wire.CreateMesh) { c.Slug = "a/b" }, nil, wire.CodeMalformed},
		{"slug in upper case", func(c *wire.CreateMesh) { c.Slug = "Team" }, nil, wire.CodeMalformed},
		{"long slug", func(c *wire.CreateMesh) { c.Slug = strings.Repeat("a", 65) }, nil, wire.CodeMalformed},
		{"no name", func(c *wire.CreateMesh) { c.Name = "" }, nil, wire.CodeMalformed},
		{"blank name", func(c *wire.CreateMesh) { c.Name = " \u00a0" }, nil, wire.CodeMalformed},
		{"long name", func(c *wire.CreateMesh) { c.Name = strings.Repeat("x", 129) }, nil, wire.CodeMalformed},
		{"name in bad UTF-8", func(c *wire.CreateMesh) { c.Name = "a\xff" }, nil, wire.CodeMalformed},
		{"name with a line break", func(c *wire.CreateMesh) { c.Name = "a\nb" }, nil, wire.CodeMalformed},
		{"name that reverses text", func(c *wire.CreateMesh) { c.Name = "a\u202eb" }, nil, wire.CodeMalformed},
		{"no display name", func(c *wire.CreateMesh) { c.DisplayName = "" }, nil, wire.CodeMalformed},
		{"display name with an escape", func(c *wire.CreateMesh) { c.DisplayName = "\x1b[31m" }, nil, wire.CodeMalformed},
		{"no key", nil, func(c *wire.CreateMesh) { c.OwnerPubkey = "" }, wire.CodeMalformed},
		{"zero key", nil, func(c *wire.CreateMesh) { c.OwnerPubkey = wire.Key{}.String() }, wire.CodeMalformed},
		{"key in upper case", nil, func(c *wire.CreateMesh) { c.OwnerPubkey = "AB" + c.OwnerPubkey[2:] }, wire.CodeMalformed},
		{"no signature", nil, func(c *wire.CreateMesh) { c.Signature = "" }, wire.CodeMalformed},
		{"no timestamp", func(c *wire.CreateMesh) { c.Timestamp = 0 }, nil, wire.CodeTimestampSkew},
		{"too old", func(c *wire.CreateMesh) { c.Timestamp -= minute + 1 }, nil, wire.CodeTimestampSkew},
		{"too new", func(c *wire.CreateMesh) { c.Timestamp += minute + 1 }, nil, wire.CodeTimestampSkew},
		{"skew comes before the signature", nil, func(c *wire.CreateMesh) { c.Timestamp -= minute + 1 }, wire.CodeTimestampSkew},
		{"other slug", nil, func(c *wire.CreateMesh) { c.Slug = "other" }, wire.CodeBadSignature},
		{"other name", nil, func(c *wire.CreateMesh) { c.Name = "other" }, wire.CodeBadSignature},
		{"other display name", nil, func(c *wire.CreateMesh) { c.DisplayName = "other" }, wire.CodeBadSignature},
		{"other timestamp", nil, func(c *wire.CreateMesh) { c.Timestamp++ }, wire.CodeBadSignature},
		{"other key", nil, func(c *wire.CreateMesh) { c.OwnerPubkey = strings.Repeat("58", 32) }, wire.CodeBadSignature},
		{"other signature", nil, func(c *wire.CreateMesh) { c.Signature = strings.Repeat("0", 128) }, wire.CodeBadSignature},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := newMemStore()
			body := createBody(newKey(t), testNow, c.signed)
			if c.after != nil {
				c.after(&body)
			}
			_, _, err := NewDirectory(store, roomForAll).Create(t.Context(), body, testNow)
			wantCode(t, err, c.code)
			if c.code != "" && len(store.meshes) != 0 {
				t.Error("a refused mesh was stored")
			}
		})
	}
}

// TestCreateOncePerSignature checks that exactly one of many identical requests creates a
// mesh.
func TestCreateOncePerSignature(t *testing.T) {
	t.Parallel()
	store, owner := newMemStore(), newKey(t)
	d, body := NewDirectory(store, roomForAll), createBody(owner, testNow, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := 0
	for range 16 {
		wg.Go(func() {
			_, _, err := d.Create(t.Context(), body, testNow.Add(time.Second))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
				return
			}
			wantCode(t, err, wire.CodeReplayed)
		})
	}
	wg.Wait()
	if created != 1 || len(store.meshes) != 1 {
		t.Errorf("%d answers and %d meshes, want one", created, len(store.meshes))
	}
}

func TestCreateStorageFailure(t *testing.T) {
	t.Parallel()
	store, down := newMemStore(), errors.New("disk full")
	store.fault = func(string, bool) error { return down }
	_, _, err := NewDirectory(store, roomForAll).Create(t.Context(), createBody(newKey(t), testNow, nil), testNow)
	var refusal *Refusal
	if !errors.Is(err, down) || errors.As(err, &refusal) {
		t.Errorf("got error %v, want the storage's own", err)
	}
}

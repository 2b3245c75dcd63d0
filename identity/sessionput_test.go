package identity

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

func TestPutAndCopyReplaceNoKey(t *testing.T) {
	t.Parallel()
	const a, b = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
	store := OpenSessionStore(t.TempDir())
	if _, err := store.Stored("team", a); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	pair, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	key := SessionKey{Pair: pair, CreatedAt: time.UnixMilli(1_700_000_000_000).UTC()}
	for range 2 {
		if err := store.Put("team", a, key); err != nil {
			t.Fatal(err)
		}
	}
	got, err := store.Stored("team", a)
	if err != nil || got.Pair.Public() != pair.Public() || !got.CreatedAt.Equal(key.CreatedAt) {
		t.Errorf("got %+v, %v", got, err)
	}
	other, err := store.Key("team", b)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put("team", b, key); !errors.Is(err, ErrOtherKey) {
		t.Errorf("another key: %v", err)
	}
	if got, err := store.Stored("team", b); err != nil || got.Pair.Public() != other.Pair.Public() {
		t.Errorf("got %+v, %v", got, err)
	}
	for range 2 {
		if ids, err := store.Copy("team", "team2"); err != nil || len(ids) != 2 {
			t.Errorf("got %v, %v", ids, err)
		}
	}
	list, err := store.List()
	if err != nil || len(list) != 4 || list[0].Pubkey != list[2].Pubkey && list[0].Pubkey != list[3].Pubkey {
		t.Errorf("got %+v, %v", list, err)
	}
	if err := store.Remove("team2", a); err != nil {
		t.Fatal(err)
	}
	if err := store.Put("team2", a, other); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Copy("team", "team2"); !errors.Is(err, ErrOtherKey) {
		t.Errorf("a copy onto another key: %v", err)
	}
}

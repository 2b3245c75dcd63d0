package postgres

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/claudemesh/claudemesh/wire"
)

// TestArrays compares arrays with pgx's encoding of slices.
func TestArrays(t *testing.T) {
	t.Parallel()
	types := pgtype.NewMap()
	one, now, text := int64(1), time.UnixMilli(1_900_000_000_123), "Zoë"
	rows := []int{0, 1, 2}
	tests := []struct {
		oid  uint32
		got  array
		want any
	}{
		{pgtype.UUIDArrayOID, uuids(rows, func(i int) wire.ID { return wire.ID{byte(i)} }), []id{uuid(wire.ID{}), uuid(wire.ID{1}), uuid(wire.ID{2})}},
		{pgtype.ByteaArrayOID, keys(rows, func(i int) wire.Key { return wire.Key{byte(i)} }), [][]byte{nil, append([]byte{1}, make([]byte, 31)...), append([]byte{2}, make([]byte, 31)...)}},
		{pgtype.ByteaArrayOID, blobs(rows, func(i int) []byte { return [][]byte{nil, {}, {7, 8}}[i] }), [][]byte{nil, {}, {7, 8}}},
		{pgtype.TextArrayOID, texts(rows, func(i int) string { return []string{"", "Zoë", "a\x00"}[i] }), []string{"", "Zoë", "a\uFFFD"}},
		{pgtype.TextArrayOID, nullTexts(rows, func(i int) *string { return []*string{nil, &text, new(string)}[i] }), []*string{nil, &text, new(string)}},
		{pgtype.Int8ArrayOID, bigints(rows, func(i int) int64 { return int64(i) - 1 }), []int64{-1, 0, 1}},
		{pgtype.Int8ArrayOID, times(rows, func(i int) time.Time { return []time.Time{{}, time.UnixMilli(1), now}[i] }), []*int64{nil, &one, new(now.UnixMilli())}},
		{pgtype.Int2ArrayOID, smallints(rows, func(i int) int16 { return int16(i) - 1 }), []int16{-1, 0, 1}},
		{pgtype.BoolArrayOID, booleans(rows, func(i int) bool { return i == 1 }), []bool{false, true, false}},
	}
	for i, test := range tests {
		want, err := types.Encode(test.oid, pgtype.BinaryFormatCode, test.want, nil)
		if err != nil || !bytes.Equal(test.got, want) {
			t.Errorf("%d: got %x, %v\nwant %x", i, test.got, err, want)
		}
	}
	arrays(types)
	for i, test := range tests {
		for _, value := range []any{test.got, test.want} {
			got, err := types.Encode(test.oid, pgtype.BinaryFormatCode, value, []byte("before"))
			if err != nil || !bytes.Equal(got, append([]byte("before"), test.got...)) {
				t.Errorf("%d: %T is sent as %x, %v", i, value, got, err)
			}
		}
	}
	if got := fmt.Sprintf("%x", texts([]int{}, func(int) string { return "" })); got != "0000000100000000000000190000000000000001" {
		t.Errorf("got %s for no rows", got)
	}
}

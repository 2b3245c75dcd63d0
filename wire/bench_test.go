package wire

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// BenchmarkSendToPush measures parsing a send and encoding the push, for a message of
// 1 kB.
func BenchmarkSendToPush(b *testing.B) {
	body := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x\xffy", 347)))
	key := strings.Repeat("ab", 32)
	frame := []byte(`{"type":"send","id":"0123456789abcdef0123456789abcdef","client_message_id":"0123456789abcdef0123456789abcdef","targetSpec":"` + key +
		`","priority":"next","nonce":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYg==","ciphertext":"` + body + `"}`)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	at := time.Now()
	for b.Loop() {
		f, err := ParseFrame(frame)
		if err != nil {
			b.Fatal(err)
		}
		m, err := DecodeSend(&f)
		if err != nil {
			b.Fatal(err)
		}
		p := Push{MessageID: key[:32], MeshID: ID{1}, SenderPubkey: Key{1}, SenderName: "bench", Priority: m.Priority, Nonce: m.Nonce,
			Ciphertext: m.Ciphertext, CreatedAt: at, ClientID: m.ClientID}
		p.AppendJSON(make([]byte, 0, 640+len(m.Nonce)+len(m.Ciphertext)))
	}
}

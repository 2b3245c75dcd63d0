package wire_test

import (
	"fmt"
	"log"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Parse a frame once, then decode it by its type.
func ExampleParseFrame() {
	frame, err := wire.ParseFrame([]byte(`{"type":"set_status","status":"working","reason":"waiting","_reqId":"7"}`))
	if err != nil {
		log.Fatal(err)
	}
	switch frame.Type {
	case wire.TypeSetStatus:
		m, err := wire.DecodeSetStatus(&frame)
		fmt.Println(m.Status, m.Reason, err)
	default:
		fmt.Println("this program does not know", frame.Type)
	}
	// Output: working waiting <nil>
}

// A Decode function says which field is wrong and what it must be.
func ExampleDecodeSetStatus() {
	frame, err := wire.ParseFrame([]byte(`{"type":"set_status","status":"asleep"}`))
	if err != nil {
		log.Fatal(err)
	}
	_, err = wire.DecodeSetStatus(&frame)
	fmt.Println(err)
	// Output: status must be idle, working or dnd
}

// Parse the addressee of a message.
func ExampleParseTarget() {
	for _, text := range []string{"@backend", "*", "bob"} {
		target, err := wire.ParseTarget(text)
		fmt.Println(target.Kind == wire.TargetGroup, target.Kind == wire.TargetAll, err)
	}
	// Output:
	// true false <nil>
	// false true <nil>
	// false false a 64-hex key, @group, @all, * or #topic
}

// Encode the frame with which the broker acknowledges a message.
func ExampleAck_AppendJSON() {
	ack := wire.Ack{ID: "1", MessageID: "019b7cba90d67a4d8e5f1b2c3d4e5f66", Queued: true}
	fmt.Printf("%s\n", ack.AppendJSON(nil))
	// Output: {"type":"ack","id":"1","messageId":"019b7cba90d67a4d8e5f1b2c3d4e5f66","queued":true}
}

// The text that a member signs in a hello.
func ExampleHelloSigningText() {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	fmt.Println(wire.HelloSigningText("<meshId>", "<memberId>", "<pubkey>", at.UnixMilli()))
	// Output: <meshId>|<memberId>|<pubkey>|1767323045678
}

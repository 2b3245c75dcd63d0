// Package peer is the Go client of a claudemesh broker.
//
// A [Client] keeps one WebSocket to the broker for one member, or for one
// session of a member, of one mesh. It reconnects by itself, sends again what
// was not acknowledged, and acknowledges what it receives only after the
// application has taken it.
//
//	client, err := peer.Dial(ctx, peer.Options{Mesh: mesh, OnMessage: store})
//	...
//	defer client.Close()
//	receipt, err := client.Send(ctx, peer.Outgoing{To: []wire.Target{to}, Body: []byte("hello")})
//
// Everything is sealed before it leaves: a direct message for the one key that
// it is addressed to, a message to a group or to everybody under the mesh key.
// What arrives says how it was sealed ([Incoming.Sealing]); what could not be
// opened never comes as text.
//
// # Delivery
//
// [Client.Send] returns when the broker has acknowledged the message, which it
// does only when the message is safe. Until then, and until its context ends,
// Send repeats the message under one client_message_id, and the broker delivers
// it once. Messages are delivered in the order in which Send returned;
// concurrent calls have no order among themselves.
//
// Received messages are handed to [Options.OnMessage] one at a time, in order.
// When it returns nil the message is acknowledged. When it fails, the
// connection is made anew, and the broker sends that message and what follows
// again. A message may therefore be seen twice; [Incoming.DedupeKey] tells, and
// [Inbox] remembers on disk.
//
// # Beside the connection
//
// [Config] is the file of joined meshes, [Inbox] a store for received messages,
// [Link] an invite link, and [HTTP] the broker's HTTP routes. All are safe for
// several processes at once.
//
// A Client owns its goroutines: Run, or Close after Dial, returns when all of
// them have ended. All methods are safe for concurrent use.
package peer

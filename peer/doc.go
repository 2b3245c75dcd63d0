// Package peer is the Go client of a claudemesh broker.
//
// A [Client] keeps one WebSocket to the broker, for one member of one mesh or for one
// session of that member. It reconnects by itself, resends what the broker has not
// acknowledged, and acknowledges a received message only after the application has taken
// it.
//
//	client, err := peer.Dial(ctx, peer.Options{Mesh: mesh, OnMessage: store})
//	...
//	defer client.Close()
//	receipt, err := client.Send(ctx, peer.Outgoing{To: []wire.Target{to}, Body: []byte("hello")})
//
// The client seals every message before it sends it. It seals a direct message for the one
// key that it is addressed to. It signs a message to a group or to everybody, and seals it
// together with the signature under the mesh key. [Incoming.Sealing] says how a received
// message was sealed. The body of a message that the client can't open is empty.
//
// # Who wrote it
//
// A broker could lie about who sent a message or who is connected. [Incoming.Verified] and
// [VerifyRow] don't rely on it: the key that sealed or signed the message must belong to a
// member, or to a session that a member attests with a signature (identity.Attestation).
// Only the broker says which name belongs to a member key. The contacts of package inbox
// pin the first key seen under a name, and people who compare safety numbers
// (identity.SafetyNumber) need not trust the broker at all.
//
// # Delivery
//
// [Client.Send] returns when the broker has acknowledged the message, which it does only
// when the message is safe. Until then, or until its context ends, Send repeats the message
// under one client_message_id, and the broker delivers it once. The broker delivers
// messages in the order in which the calls of Send returned; concurrent calls have no order
// among themselves.
//
// The client hands received messages to [Options.OnMessage] one at a time, in order. If
// OnMessage returns nil, the client acknowledges the message. If it fails, the client
// reconnects, and the broker sends that message and the following ones again. A message may
// therefore arrive twice; [Incoming.DedupeKey] identifies it, and package inbox remembers it
// on disk.
//
// [Client.MessageStatus] returns how far a message has come according to the broker. A
// [Confirmation] is the recipient's own statement, signed and sealed for the sender. A
// client asks for such receipts with [Options.TakesReceipts] and sends them with
// [Client.Confirm]. A receipt is never answered by a receipt.
//
// # Sessions
//
// Others know a client of a session ([Options.Session]) by the session's key. The session
// may succeed earlier ones ([Options.Formerly]). It ends with or without telling the broker
// that it leaves ([Client.Close], [Client.Abandon]). The client renews its connection,
// within its lease, before the attestation of its key expires. If another client proves the
// same key, that client takes over and this one ends for good ([IsReplaced]).
//
// # Beside the connection
//
// [Config] holds the joined meshes, [Link] is an invite link, and [HTTP] calls the broker's
// HTTP routes. Several processes may use them at once.
//
// # Files
//
// The connection:
//
//	client.go     the Client: its life and its reconnecting
//	options.go    the options of a client
//	dial.go       connects, says hello, corrects the clock
//	hello.go      makes the hello
//	conn.go       one connection: reads frames, matches answers to requests
//	keepalive.go  pings, and notices a silent broker
//	backoff.go    pauses between attempts
//	retry.go      tries again, for a command, while the broker is away
//	request.go    requests and their answers
//	proxy.go      connects through proxies
//	errors.go     the errors of brokers, and whether they are final
//
// Messages:
//
//	send.go       sends, and repeats until the ack
//	copies.go     sends copies to peers that can't open a message
//	toolong.go    the error for a message that is too long
//	receive.go    hands messages to the application, then acknowledges them
//	open.go       opens sealed messages
//	verify.go     verifies the senders of messages and the rows of the roster
//	confirm.go    signs and reads receipts
//	messageid.go  short and full message ids
//
// Peers and members:
//
//	roster.go   updates the roster by differences
//	resolve.go  finds the recipient that a name or a key prefix means
//	meant.go    suggests a target for one that matches nobody
//	admin.go    invites, roles, kick, ban
//
// Joining, and files:
//
//	link.go        parses invite links and v1 tokens, and makes invites with their secrets
//	join.go        joins by a link
//	http.go        the broker's HTTP routes
//	site.go        turns a broker's URL into the URLs of its routes
//	config.go      the joined meshes, and the format of their file
//	configfile.go  reads and changes that file
//	meshcheck.go   refuses a mesh whose fields are unfit for use
//	keys.go        backups of the config, and the member keys in them
//	v1token.go     takes the mesh key from the token of a v1 client
//	lock.go        locks files between processes
//	sessions.go    the directory of the session keys
//
// # Concurrency
//
// A Client owns its goroutines. Run, or Close after Dial, returns when all of them have
// ended. All methods are safe for concurrent use.
//
// Other programs may rely on this package: its exported API changes incompatibly only in a
// new major version.
package peer

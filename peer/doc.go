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
// it is addressed to, a message to a group or to everybody, with the sender's
// signature in it, under the mesh key. What arrives says how it was sealed
// ([Incoming.Sealing]); what could not be opened never comes as text.
//
// # Who wrote it
//
// A broker could lie about who sent a message or who is there. [Incoming.Verified]
// and [VerifyRow] don't take its word: the key that sealed or signed the message
// must be a member's, or a session's that a member vouches for with a signature
// (identity.Attestation). What remains the broker's word is which name belongs to a
// member key: the contacts of package inbox pin the first key seen under a name, and people
// who compare safety numbers (identity.SafetyNumber) need no broker at all.
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
// package inbox remembers on disk.
//
// How far a message came, [Client.MessageStatus] tells by the broker's word, and a
// [Confirmation] by the recipient's own, signed and sealed for the sender. Receipts
// are asked for with [Options.TakesReceipts], given with [Client.Confirm], and never
// answered by a receipt.
//
// # Sessions
//
// A client of a session ([Options.Session]) is known by the session's key. It may go
// on in the place of earlier ones ([Options.Formerly]), and ends with or without
// taking leave ([Client.Close], [Client.Abandon]). Its connection is made anew, within
// its lease, before the attestation of its key ends. When another client proves the
// same key, that one takes over and this one ends for good ([IsReplaced]).
//
// # Beside the connection
//
// [Config] is the file of joined meshes, [Link] an invite link, and [HTTP] the broker's
// HTTP routes. All are safe for several processes at once.
//
// # Files
//
// The connection:
//
//	client.go     the Client: its life and its reconnecting
//	options.go    what a client is made of
//	dial.go       connects, says hello, corrects the clock
//	hello.go      makes the hello
//	conn.go       one connection: reads frames, matches answers to requests
//	keepalive.go  pings, and notices a silent broker
//	backoff.go    pauses between attempts
//	request.go    requests and their answers
//	proxy.go      connects through proxies
//	errors.go     why a broker refused or closed, and whether that is final
//
// Messages:
//
//	send.go       sends, and repeats until the ack
//	copies.go     sends copies to peers that can't open a message
//	toolong.go    a message is too long
//	receive.go    hands messages to the application, then acknowledges them
//	open.go       opens sealed messages
//	verify.go     says whether a sender or a roster row is proven
//	confirm.go    signs and reads receipts
//	messageid.go  short and full message ids
//
// Peers and members:
//
//	roster.go   keeps the roster by differences
//	resolve.go  finds whom a name or a key prefix means
//	meant.go    guesses what a target that means nobody was meant to be
//	admin.go    invites, roles, kick, ban
//
// Joining, and files:
//
//	link.go        parses invite links and v1 tokens, and makes invites with their secrets
//	join.go        joins by a link
//	http.go        the broker's HTTP routes
//	site.go        turns a broker's URL into the URLs of its routes
//	config.go      the file of joined meshes: its format
//	configfile.go  reads and changes it
//	meshcheck.go   refuses a mesh whose names or ids are none
//	keys.go        member keys that a change of the config has kept
//	v1token.go     takes the mesh key from the token of a v1 client
//	lock.go        locks files between processes
//	sessions.go    where session keys are
//
// # Concurrency
//
// A Client owns its goroutines: Run, or Close after Dial, returns when all of
// them have ended. All methods are safe for concurrent use.
//
// Outsiders may rely on this package: what it exports changes only with a new major
// version.
package peer

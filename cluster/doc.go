// Package cluster lets several brokers, the nodes of a cluster, share one database. It
// decides which node owns which mesh. Exactly one node owns a mesh at any moment, and only
// the owner serves the mesh.
//
// The database decides: a row says which node owns a mesh, and every transaction that
// writes first checks that row. What this package keeps in memory is a cache. A node that
// relies on an outdated entry asks the wrong node, which says so, or fails to write.
//
// # Relay
//
// A client connects to any node. Its hello names its mesh. If another node owns the mesh, the
// node that has the client's connection passes bytes between the two, and only the owner
// writes WebSocket frames. Requests over HTTP that concern a mesh go to its owner, too.
//
// Every node has a link to every other one, for the sockets and requests that it passes on. A link
// is a TLS 1.3 connection in which both ends prove an ed25519 key. A node makes its key when it
// starts and publishes the public half in its row of the database; the other end compares it with
// the row. So there is no secret to configure, and only the nodes in the database get in. The
// client's address travels in the preface of a stream, where a client can't write.
//
// When a link breaks, or carries nothing for [silence], both ends cut the sockets on it.
//
// # Why smux
//
// Many sockets share a link, so it needs a multiplexer with a window for each of them: one slow
// client must not stall others. Compared by their sources:
//
//   - xtaci/smux v1.5.58 takes the window of a stream from its config (64 kB here). An idle
//     stream costs about 1 kB and holds no buffer: WriteTo passes on the buffers that it has read
//     into. A goroutine that waits for a stream costs 3 kB more, so arrivals.go waits for all.
//     Streams take turns, and control frames go first. A limit for all streams together stalls all
//     if slow clients fill it, so session.go sets it out of reach. smux does not close a session
//     whose connection breaks, so awaitClosed does.
//   - hashicorp/yamux v0.1.2 has windows of at least 256 kB, in a buffer that a stream keeps once
//     it was needed. It writes header and body of a frame separately, which is two TLS records and
//     two system calls a frame. A stream that waits for a busy link for longer than the timeout
//     of the keepalive fails.
//   - HTTP/2 of net/http needs several goroutines and pipes for a stream that goes both ways,
//     which is more memory than a relayed session may cost, and has windows that its client
//     side does not let one choose for each stream.
//
// # Files
//
//	owners.go    finds the owner of a mesh
//	serve.go     what the broker of this node needs to become an owner and to stop being one
//	balance.go   which meshes move so that all nodes have about as many
//	node.go      what is known of a node; what a storage must do
//	relay.go     the relay: links to all nodes, sockets and requests to owners
//	link.go      a link, at the end that connects
//	reach.go     whether the other nodes reach this one
//	listener.go  links, at the end that accepts
//	crowd.go     connections that may be from nodes or from strangers
//	roster.go    which keys are those of nodes
//	calls.go     requests that other nodes forward
//	key.go       the identity of a node
//	preface.go   what a stream begins with
//	trace.go     the trace of the request that opened a socket
//	session.go   how smux is set up
//	attentive.go the end of silent links
//	arrivals.go  which streams have something to read
//	batched.go   frames of many streams in one write
//	splice.go    bytes between a client and a stream
//
// # Concurrency
//
// All methods are safe for concurrent use, and no lock is held during I/O. A relayed socket has a
// goroutine for each direction in which bytes are under way, and one that waits for the client. The
// last of them end with it; a Relay waits for all that it starts.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package cluster

// Package inbox stores a client's mail and contacts on disk: received messages, until some
// time after they are read ([Inbox]), and the members that the user has met ([Contacts]).
//
// One SQLite file per configuration directory holds both. Several processes may use it at
// once; every method is one transaction.
//
// # Names
//
// Only the broker says which names members have, so each name is pinned to the first key
// seen with it. Another key with that name is in conflict: [Contacts.Check] returns a
// [ChangedKeyError], so that nothing is sent to it, until the user trusts the new key.
//
// # Files
//
//	inbox.go       adds, lists and prunes received messages, and marks them as read
//	take.go        mail of sessions: a tool call takes it; then it is confirmed or released
//	contacts.go    the members that the user has met, their names, and compared keys
//	changedkey.go  checks whether a message may go to the key that a name leads to
//	acquired.go    exports contacts to a backup and imports them
//	schema.go      the schema and its history
//
// It is for claudemesh itself; outsiders should not rely on it.
package inbox

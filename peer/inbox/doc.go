// Package inbox is what a client keeps on disk of its meshes: received messages until some
// time after they were read ([Inbox]), and the members it has met ([Contacts]).
//
// One SQLite file per configuration directory holds both. Several processes may use it at
// once; every method is one transaction.
//
// # Who bears a name
//
// Names are the broker's word, so the first key seen under a name is pinned to it. Under
// that name another key is in conflict, and [Contacts.Check] refuses to send to it with a
// [ChangedKeyError] until the user trusts the new key.
//
// # Files
//
//	inbox.go       received messages: added, listed, marked as read, pruned
//	take.go        mail as a session sees it: unread, taken by a tool call, confirmed, released, adopted
//	contacts.go    members met, whose names they bear and whose keys were compared
//	changedkey.go  whether a message may go to the key that a name leads to now
//	acquired.go    contacts in and out of a backup
//	schema.go      the schema and its history
//
// It is for claudemesh itself; outsiders should not rely on it.
package inbox

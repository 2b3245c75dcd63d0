// Package journal is the group commit: one transaction for the messages,
// acknowledgements, presences and audit entries of the moment, while the next
// batch fills.
package journal

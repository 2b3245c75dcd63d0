// Package netns gives tests a network of several hosts on one machine. Each host is a Linux network
// namespace with a /24 of its own, and a router connects the hosts. A test can cut any two hosts off from
// each other, with or without a word to them, and unplug a host.
//
// A test that uses a network calls Isolated first, which runs the test in a process that sees nothing but
// its own network and processes. Whatever ends that process ends all that it has started and removes the
// network: nothing is left on the machine, and tests that run at the same time don't meet.
//
// Namespaces need root.
package netns

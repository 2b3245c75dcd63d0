// Package harness builds the two commands and runs brokers for end-to-end tests:
// bin/caddy as its own process with the repository's Caddyfile, in a home directory
// of its own, on a free port of 127.0.0.1. A broker's methods are for one goroutine.
package harness

// Package harness builds the commands and runs brokers for end-to-end tests. A broker is bin/caddy
// in its own process with the repository's Caddyfile, its own home directory and a free port of
// 127.0.0.1. Only one goroutine may call a broker's methods.
//
// # Files
//
//	main.go      builds the commands, runs a package's tests, and removes the commands
//	commands.go  builds the commands, or finds those that make has built
//	admin.go     a client of Caddy's admin endpoint
//	broker.go    one broker process: its settings, start, stop and log
//	clock.go     the clock of a process
//	log.go       what a program's log must not show
//	port.go      free ports
//	page.go      the examples in a Markdown page
//	race_on.go   the tests run with the race detector, and so do the commands
//	race_off.go  neither does
package harness

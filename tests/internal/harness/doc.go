// Package harness builds the commands and runs brokers for end-to-end tests. A broker is bin/caddy
// in its own process with the repository's Caddyfile, its own home directory and a free port of
// 127.0.0.1. Only one goroutine may call a broker's methods.
package harness

// Command caddy is Caddy with the claudemesh broker compiled in.
package main

import (
	_ "time/tzdata" // for machines without a time zone database

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/claudemesh/claudemesh/caddymesh"
)

func main() {
	caddycmd.Main()
}

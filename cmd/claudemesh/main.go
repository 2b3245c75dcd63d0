// Command claudemesh joins meshes and exchanges end-to-end encrypted messages
// with other peers. See claudemesh --help.
package main

import (
	"os"

	"github.com/claudemesh/claudemesh/peer/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

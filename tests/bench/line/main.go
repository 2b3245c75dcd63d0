// Command line prints a line. The benchmark of hooks compares them with this minimal program.
package main

import "os"

func main() { _, _ = os.Stdout.WriteString("line\n") }

// Command line prints a line: the least that a program can do, beside which hooks are
// measured.
package main

import "os"

func main() { _, _ = os.Stdout.WriteString("line\n") }

package main

import (
	"fmt"
	"os"
	"slices"
)

// quiet: standard output is for the answer only, as with -p.
var quiet = slices.ContainsFunc(os.Args[1:], func(arg string) bool { return arg == "-p" || arg == "--print" })

// show prints what would be on the screen.
func show(format string, args ...any) {
	to := os.Stdout
	if quiet {
		to = os.Stderr
	}
	fmt.Fprintf(to, format, args...)
}

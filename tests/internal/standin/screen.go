package main

import (
	"fmt"
	"os"
	"slices"
)

// quiet reports whether standard output is only for the answer, because of -p.
var quiet = slices.ContainsFunc(os.Args[1:], func(arg string) bool { return arg == "-p" || arg == "--print" })

// show prints a text that would appear on the screen.
func show(format string, args ...any) {
	to := os.Stdout
	if quiet {
		to = os.Stderr
	}
	fmt.Fprintf(to, format, args...)
}

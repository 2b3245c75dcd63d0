package main

import (
	"os"
	"testing"
)

// TestMain lets the tests start this program in its roles.
func TestMain(m *testing.M) {
	if play() {
		return
	}
	os.Exit(m.Run())
}

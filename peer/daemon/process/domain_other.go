//go:build !linux

package process

// Domain identifies the pid namespace of this process. It is "" on systems that have only one.
func Domain() string { return "" }

func canSee() bool { return true }

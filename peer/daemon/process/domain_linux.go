package process

import (
	"os"
	"strconv"
	"sync"
)

// Domain names the pid namespace of this process: process numbers of two domains have
// nothing to do with each other. It is the boot of the system and the namespace's name
// there, as "02b8b7b6-cf03-4431-8f30-fdd0c311130e pid:[4026531836]".
var Domain = sync.OnceValue(func() string {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return Boot() + " " + namespace
})

// canSee reports whether /proc shows the processes of this one's namespace. It shows
// those of another one in a container that has not mounted its own.
var canSee = sync.OnceValue(func() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
})

package process

import (
	"os"
	"strconv"
	"sync"
)

// Domain identifies the pid namespace of this process. Pids in different domains are unrelated.
// A domain consists of the system's boot ID and the name of the namespace, such as
// "02b8b7b6-cf03-4431-8f30-fdd0c311130e pid:[4026531836]".
var Domain = sync.OnceValue(func() string {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return Boot() + " " + namespace
})

// canSee reports whether /proc shows the processes of this process's namespace. In a container
// that has not mounted its own /proc, it shows those of another namespace.
var canSee = sync.OnceValue(func() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
})

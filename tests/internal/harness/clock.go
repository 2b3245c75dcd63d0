package harness

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
)

// Clock moves the wall clock of another process.
//
// Go programs and the C library get the time from the vDSO, a page of code that the kernel
// maps into each process (https://man7.org/linux/man-pages/man7/vdso.7.html). Like a
// debugger, NewClock replaces the entry of clock_gettime there with a jump to code that calls
// the kernel and adds an offset to CLOCK_REALTIME. It doesn't change the monotonic clock, just
// like setting a machine's clock.
type Clock struct {
	pid    int
	offset int64 // the address of the offset, in seconds
}

const vdsoFunction = "__vdso_clock_gettime"

// timeCode is this code (System V ABI: edi is the clock, rsi points to the result):
//
//	mov eax, 228 (clock_gettime); syscall; test edi, edi; jnz end
//	mov rcx, [rip+offset]; add [rsi], rcx
//	end: ret
//
// followed by the aligned offset.
var timeCode = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x85, 0xff, 0x75, 0x0a,
	0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, 0x48, 0x01, 0x0e,
	0xc3, 0x00, 0x00,
}

const (
	codeRoom = 64 // bytes needed at the end of the vDSO
	jumpSize = 5
)

// NewClock takes control of a process's clock. It skips the test if that isn't possible.
func NewClock(t testing.TB, pid int) *Clock {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("moving the clock of a process is implemented only for amd64")
	}
	c := &Clock{pid: pid}
	low, image, err := c.vdso()
	if err != nil {
		t.Skipf("the clock of a process can't be moved here: %v", err)
	}
	entry, err := symbol(image, vdsoFunction)
	if err != nil {
		t.Skipf("the clock of a process can't be moved here: %v", err)
	}
	code := len(image) - codeRoom
	if bytes.Count(image[code:], []byte{0}) != codeRoom {
		t.Skip("the clock of a process can't be moved here: the vDSO is full")
	}
	c.offset = low + int64(code+len(timeCode))
	jump := binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(code-entry-jumpSize))
	err = c.stopped(low+int64(entry), func() error {
		if err := c.poke(low+int64(code), timeCode); err != nil {
			return err
		}
		return c.poke(low+int64(entry), jump)
	})
	if err != nil {
		t.Skipf("the clock of a process can't be moved here: %v", err)
	}
	return c
}

// Set makes the process's clock run ahead of the real one.
func (c *Clock) Set(t testing.TB, ahead time.Duration) {
	t.Helper()
	if err := c.poke(c.offset, binary.LittleEndian.AppendUint64(nil, uint64(int64(ahead/time.Second)))); err != nil {
		t.Fatalf("set the clock of process %d: %v", c.pid, err)
	}
}

// vdso returns the address and the content of the process's vDSO.
func (c *Clock) vdso() (low int64, image []byte, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", c.pid))
	if err != nil {
		return 0, nil, err
	}
	for line := range strings.Lines(string(maps)) {
		var high int64
		if !strings.HasSuffix(line, "[vdso]\n") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &low, &high); err != nil {
			return 0, nil, err
		}
		memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", c.pid))
		if err != nil {
			return 0, nil, err
		}
		defer memory.Close()
		image = make([]byte, high-low)
		_, err = memory.ReadAt(image, low)
		return low, image, err
	}
	return 0, nil, fmt.Errorf("process %d has no vDSO", c.pid)
}

func symbol(image []byte, name string) (int, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("no %s in the vDSO", name)
	}
	return int(symbols[i].Value), nil
}

// stopped calls do while the process is stopped and no thread is in the instructions at the
// address at, which do replaces.
func (c *Clock) stopped(at int64, do func() error) error {
	for range 100 {
		if err := syscall.Kill(c.pid, syscall.SIGSTOP); err != nil {
			return err
		}
		counters, err := c.counters()
		free := !slices.ContainsFunc(counters, func(counter int64) bool { return at < counter && counter < at+jumpSize })
		if err == nil && free {
			err = do()
		}
		if resume := syscall.Kill(c.pid, syscall.SIGCONT); err == nil {
			err = resume
		}
		if err != nil || free {
			return err
		}
	}
	return fmt.Errorf("a thread of process %d is always in clock_gettime", c.pid)
}

// counters waits until every thread is stopped and returns their program counters, the last
// numbers in proc_pid_syscall(5).
func (c *Clock) counters() (list []int64, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", c.pid))
	if err != nil {
		return nil, err
	}
	timeout := time.After(await.Patience)
	for len(threads) > 0 {
		state, err := os.ReadFile(threads[0])
		if err != nil {
			return nil, err
		}
		if fields := strings.Fields(string(state)); fields[0] != "running" {
			var counter int64
			if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &counter); err != nil {
				return nil, err
			}
			list, threads = append(list, counter), threads[1:]
			continue
		}
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			return nil, fmt.Errorf("process %d doesn't stop", c.pid)
		}
	}
	return list, nil
}

func (c *Clock) poke(address int64, b []byte) error {
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	_, err = memory.WriteAt(b, address)
	return err
}

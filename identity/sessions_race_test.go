package identity_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// asProcess is the environment variable that turns this test program into a process
// that asks for keys. Its value is the directory of the store.
const asProcess = "CLAUDEMESH_TEST_SESSION_ROOT"

// fileLimit is the environment variable that limits, in bytes, the size of the files
// that such a process can write.
const fileLimit = "CLAUDEMESH_TEST_FILE_LIMIT"

func TestMain(m *testing.M) {
	if root := os.Getenv(asProcess); root != "" {
		if err := answer(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// answer reads session ids from standard input, one per line. For each it writes the
// session's key and whether the key is stored.
func answer(root string) error {
	var limit uint64
	if _, err := fmt.Sscan(os.Getenv(fileLimit), &limit); err == nil {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return err
		}
	}
	s := identity.OpenSessionStore(root)
	fmt.Println("ready")
	for ids := bufio.NewScanner(os.Stdin); ids.Scan(); {
		k, err := s.Key(slug, ids.Text())
		if err != nil {
			return err
		}
		fmt.Println(k.Pair.Public(), k.Unsaved == nil)
	}
	return nil
}

// asker is a running process that asks for keys.
type asker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startAsker(t *testing.T, root string, env ...string) *asker {
	t.Helper()
	a := &asker{cmd: exec.Command(os.Args[0])}
	a.cmd.Env = append(append(os.Environ(), asProcess+"="+root), env...)
	a.cmd.Stderr = os.Stderr
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewScanner(out)
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.in.Close()
		if err := a.cmd.Wait(); err != nil {
			t.Errorf("process: %v", err)
		}
	})
	if line := a.line(t); line != "ready" {
		t.Fatalf("process says %q", line)
	}
	return a
}

func (a *asker) ask(t *testing.T, id string) {
	t.Helper()
	if _, err := io.WriteString(a.in, id+"\n"); err != nil {
		t.Error(err)
	}
}

func (a *asker) line(t *testing.T) string {
	t.Helper()
	if !a.out.Scan() {
		t.Errorf("the process has ended: %v", a.out.Err())
	}
	return a.out.Text()
}

func numberedSession(n int) string { return fmt.Sprintf("%08x-93a1-4f6e-8f0b-6a2c9d1e4f30", n) }

// TestRacingProcessesGetOneKey checks that several processes that start at the same moment
// get the same key, whether the file is missing or damaged.
func TestRacingProcessesGetOneKey(t *testing.T) {
	t.Parallel()
	const processes, sessions = 6, 20
	s, root := newStore(t)
	var askers []*asker
	for range processes {
		askers = append(askers, startAsker(t, root))
	}
	for n := range sessions {
		id := numberedSession(n)
		if n%2 == 1 {
			put(t, root, id+".json", `{"version": 1, "mesh`)
		}
		for i, a := range askers { // writing to the pipe doesn't block
			if i%2 == 0 {
				a.ask(t, strings.ToUpper(id))
			} else {
				a.ask(t, id)
			}
		}
		var keys []string
		for _, a := range askers {
			keys = append(keys, a.line(t))
		}
		want := fmt.Sprint(mustKey(t, s, slug, id).Pair.Public(), " true")
		if slices.ContainsFunc(keys, func(k string) bool { return k != want }) {
			t.Fatalf("session %d: stored %s, processes got %q", n, want, keys)
		}
	}
	checkTidy(t, root, sessions, sessions/2)
}

func TestRacingCallsGetOneKey(t *testing.T) {
	t.Parallel()
	const callers, sessions = 16, 20
	_, root := newStore(t)
	shared := identity.OpenSessionStore(root)
	for n := range sessions {
		id := numberedSession(n)
		if n%2 == 1 {
			put(t, root, id+".json", "")
		}
		var got [callers]wire.Key
		var fresh [callers]bool
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range callers {
			wg.Go(func() {
				s := shared
				if i%2 == 1 {
					s = identity.OpenSessionStore(root)
				}
				<-start
				k, err := s.Key(slug, id)
				if err != nil || k.Unsaved != nil {
					t.Errorf("session %d: %v, %v", n, err, k.Unsaved)
				}
				got[i], fresh[i] = k.Pair.Public(), k.Fresh
			})
		}
		close(start)
		wg.Wait()
		made := 0
		for i := range callers {
			if got[i] != got[0] || got[i].IsZero() {
				t.Fatalf("session %d: two keys, %s and %s", n, got[0], got[i])
			}
			if fresh[i] {
				made++
			}
		}
		if made != 1 {
			t.Errorf("session %d: made %d times", n, made)
		}
	}
	checkTidy(t, root, sessions, sessions/2)
}

// checkTidy checks that the directory holds the given numbers of keys and of damaged
// files that were set aside, and nothing else.
func checkTidy(t *testing.T, root string, keys, corrupt int) {
	t.Helper()
	for _, name := range names(t, filepath.Join(root, slug)) {
		switch {
		case strings.HasSuffix(name, ".json"):
			keys--
		case strings.HasSuffix(name, ".json.corrupt"):
			corrupt--
		default:
			t.Errorf("%s was left", name)
		}
	}
	if keys != 0 || corrupt != 0 {
		t.Errorf("%d keys and %d files that were set aside are missing", keys, corrupt)
	}
}

// TestDiskThatIsFull checks that no partial file stays behind if the disk fills up while
// the file is written.
func TestDiskThatIsFull(t *testing.T) {
	t.Parallel()
	_, root := newStore(t)
	a := startAsker(t, root, fileLimit+"=100")
	a.ask(t, session)
	first := a.line(t)
	a.ask(t, session)
	if again := a.line(t); !strings.HasSuffix(first, " false") || again != first {
		t.Errorf("got %q, then %q", first, again)
	}
	if left := names(t, filepath.Join(root, slug)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	k := mustKey(t, identity.OpenSessionStore(root), slug, session)
	if !k.Fresh || len(k.Warnings) > 0 {
		t.Errorf("got %+v afterwards", k)
	}
}

package claude

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// pipe is the terminal of the stand-in: it reads keys from its standard input.
type pipe struct {
	t    testing.TB
	cmd  *exec.Cmd
	keys io.WriteCloser
	log  string        // file with the output
	done chan struct{} // closed when the process has ended
}

func openPipe(t testing.TB, h *Home, dir string, argv []string) *pipe {
	t.Helper()
	out, err := os.CreateTemp(filepath.Join(h.Dir, "tmp"), "terminal-")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &pipe{t: t, cmd: h.Command(argv...), log: out.Name(), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	// Use our own pipe: Wait would close cmd's while a key is in transit.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p.cmd.Stdin, p.keys = r, w
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	t.Cleanup(func() { w.Close() })
	go func() { // ends with the process, which Open's cleanup kills; Exited and Wait look at done
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p
}

func (p *pipe) PID() int       { return p.cmd.Process.Pid }
func (p *pipe) Screen() string { return readText(p.log) }

func (p *pipe) Picture() string { return p.Screen() }

func (p *pipe) Exited() (code int, ended bool) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), true
	default:
		return 0, false
	}
}

func (p *pipe) text(text string) { p.press(text) }
func (p *pipe) line(text string) { p.press(text + "\r") }
func (p *pipe) dialog() bool     { return true }
func (p *pipe) escape()          { p.press("\x1b") }
func (p *pipe) enter()           { p.press("\r") }

func (p *pipe) press(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.keys, keys); err != nil {
		p.t.Errorf("type %q: %v", keys, err)
	}
}

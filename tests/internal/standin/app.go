package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	permissionDelay = 6 * time.Second // from a dialog to its Notification hook
	idleDelay       = 60 * time.Second
)

// app is the running program. Static after the start: o, pub, plugins, servers, monitors, events.
// Owned by the loop: turn, queue, dialog. Owned by the turn while there is one, else by the loop: s,
// promptID.
type app struct {
	o        options
	pub      *publisher
	plugins  []plugin
	servers  []*server
	monitors []int // process groups
	events   chan any
	ready    chan struct{} // closed when the MCP servers are ready

	turn   *turn
	queue  []prompt
	dialog chan bool // gets the answer to the visible dialog

	s        *session
	promptID string

	aside processes

	mu      sync.Mutex
	notes   []string // the monitors' notifications during this turn
	context []string // the SessionStart hooks' context for the model
}

// Events of the loop, besides [rewake] and [prompt].
type (
	typed  string                      // a line was typed
	esc    struct{}                    // Esc was pressed
	closed struct{}                    // standard input was closed
	note   string                      // a monitor sent a notification
	rewake struct{ from, text string } // a waiter ended with exit code 2
	asked  struct{ answer chan bool }  // a dialog must be shown
	done   struct{}                    // the turn is over
	idled  struct{ since int64 }       // nothing has happened for a while
)

func newApp(o options, s *session) *app {
	return &app{o: o, s: s, pub: newPublisher(o, s), events: make(chan any, 100), ready: make(chan struct{})}
}

// run runs the program and returns the exit code.
func (a *app) run(source string) int {
	var err error
	if a.plugins, err = loadPlugins(a.o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	if !a.o.print {
		a.pub.set(a.s.id, "idle", "")
		show("Claude Code v%s (stand-in)\n", version)
	}
	go a.startServers() // closes ready, for which turns and end wait
	a.start(source)
	if a.o.print {
		return a.printMode(signals)
	}
	if os.Getenv("CLAUDE_STANDIN_NO_MONITORS") == "" && !hooksOff() {
		for _, p := range a.plugins {
			for _, m := range p.monitors {
				if err := a.startMonitor(p, m); err != nil {
					show("monitor %s: %v\n", m.Name, err)
				}
			}
		}
	}
	go readKeys(a.events) // ends with the input, or with the process
	show("❯\n")
	if a.o.prompt != "" {
		a.begin(human(a.o.prompt))
	}
	return a.loop(signals)
}

// start runs the SessionStart hooks.
func (a *app) start(source string) {
	fields := map[string]any{"source": source}
	if source == "startup" && !a.o.print || source == "compact" {
		fields["model"] = model
	}
	if source == "resume" || source == "fork" {
		fields["seconds_since_last_response"], fields["context_tokens"] = 1, 100
	}
	outcomes := a.fire("SessionStart", source, fields)
	for _, out := range outcomes {
		switch {
		case out.context != "":
			a.context = append(a.context, "SessionStart hook additional context: "+out.context)
		case out.plain != "":
			a.context = append(a.context, "SessionStart:"+source+" hook success: "+out.plain)
		}
	}
}

func (a *app) startServers() {
	defer close(a.ready)
	if a.o.strictMCP {
		return
	}
	var starting sync.WaitGroup
	for _, p := range a.plugins {
		for _, name := range slices.Sorted(maps.Keys(p.servers)) {
			starting.Go(func() {
				s, err := a.startServer(p, name, p.servers[name])
				if err != nil {
					show("MCP server %s: %v\n", name, err)
				}
				if s != nil {
					a.mu.Lock()
					a.servers = append(a.servers, s)
					a.mu.Unlock()
				}
			})
		}
	}
	starting.Wait()
}

// printMode answers one prompt, for -p.
func (a *app) printMode(signals chan os.Signal) int {
	a.pub.set(a.s.id, "busy", "")
	t := newTurn(a)
	go func() { // ends with the process
		<-signals
		t.cancel()
	}()
	last := t.run(human(a.o.prompt))
	fmt.Println(last)
	a.end("other")
	if t.failed {
		return 1
	}
	return 0
}

// loop handles events until the end.
func (a *app) loop(signals chan os.Signal) int {
	for {
		select {
		case sig := <-signals:
			a.interrupt()
			a.end("other")
			return 128 + int(sig.(syscall.Signal))
		case event := <-a.events:
			if code, over := a.react(event); over {
				return code
			}
		}
	}
}

func (a *app) react(event any) (code int, over bool) {
	switch e := event.(type) {
	case typed:
		return a.enter(string(e))
	case closed:
		a.interrupt()
		a.end("prompt_input_exit")
		return 0, true
	case esc:
		if a.dialog != nil {
			a.dialog <- false
			a.dialog = nil
		}
		if a.turn != nil {
			a.turn.cancel()
		}
	case note:
		a.hear(string(e))
	case rewake:
		a.begin(prompt{
			seen: notification("Stop hook feedback", ""),
			api: reminder(notification("Stop hook feedback", "")) + "<system-reminder>Stop hook blocking error from command \"" + e.from + "\": " +
				strings.ReplaceAll(e.text, "</system-reminder>", "<\\/system-reminder>") + "</system-reminder>",
		})
	case asked:
		a.dialog = e.answer
		a.pub.set(a.s.id, "waiting", "permission prompt")
		show("Do you want to proceed?\n❯ 1. Yes\n  2. No\n")
	case done:
		a.finish()
	case idled:
		if a.turn == nil && a.pub.current().StatusUpdatedAt == e.since {
			a.fire("Notification", "idle_prompt", map[string]any{"notification_type": "idle_prompt", "message": "Claude is waiting for your input"})
		}
	}
	return 0, false
}

// enter handles a typed line.
func (a *app) enter(text string) (code int, over bool) {
	switch {
	case a.dialog != nil:
		a.dialog <- true
		a.dialog = nil
		a.pub.set(a.s.id, "busy", "")
	case strings.TrimSpace(text) == "":
	case text == "/exit":
		a.interrupt()
		a.end("prompt_input_exit")
		return 0, true
	case a.turn != nil:
		a.queue = append(a.queue, human(text))
	case text == "/clear":
		a.clear()
	case text == "/compact":
		a.compact()
	default:
		a.begin(human(text))
	}
	return 0, false
}

// hear passes a notification to the model: at once if it is idle, else with the next tool result or
// in the next turn.
func (a *app) hear(text string) {
	if a.turn == nil {
		a.begin(prompt{seen: text, api: reminder(text)})
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notes = append(a.notes, text)
}

// takeNotes returns the monitors' notifications since its last call.
func (a *app) takeNotes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	notes := a.notes
	a.notes = nil
	return notes
}

// begin starts a turn or queues it.
func (a *app) begin(p prompt) {
	if a.turn != nil {
		a.queue = append(a.queue, p)
		return
	}
	a.pub.set(a.s.id, "busy", "")
	t := newTurn(a)
	a.turn = t
	go func() { // done ends it; interrupt and finish wait for that
		t.run(p)
		a.events <- done{}
	}()
}

// finish ends a turn and starts the next queued one.
func (a *app) finish() {
	a.turn = nil
	a.dialog = nil
	resting := "idle"
	if len(a.monitors) > 0 {
		resting = "shell" // a command runs in the background
	}
	a.pub.set(a.s.id, resting, "")
	show("❯\n")
	since := a.pub.current().StatusUpdatedAt
	// The loop drops the event if something has happened since. The process doesn't wait for it.
	time.AfterFunc(idleDelay, func() { a.events <- idled{since} })
	if notes := a.takeNotes(); len(notes) > 0 {
		texts := make([]string, 0, len(notes))
		for _, n := range notes {
			texts = append(texts, reminder(n))
		}
		a.queue = append(a.queue, prompt{seen: strings.Join(notes, "\n"), api: strings.Join(texts, "\n")})
	}
	if len(a.queue) > 0 {
		next := a.queue[0]
		a.queue = a.queue[1:]
		a.begin(next)
	}
}

// interrupt ends the turn, if there is one, and waits for its end.
func (a *app) interrupt() {
	if a.turn == nil {
		return
	}
	if a.dialog != nil {
		a.dialog <- false
	}
	a.turn.cancel()
	for event := range a.events {
		switch e := event.(type) {
		case asked:
			e.answer <- false
		case done:
			a.turn = nil
			return
		}
	}
}

// clear starts a new session in this process.
func (a *app) clear() {
	a.fire("SessionEnd", "clear", map[string]any{"reason": "clear"})
	old := a.s
	a.s = &session{id: newUUID(), entrypoint: old.entrypoint, cwd: old.cwd}
	a.s.transcript = strings.TrimSuffix(old.transcript, old.id+".jsonl") + a.s.id + ".jsonl"
	a.promptID, a.context = "", nil
	a.pub.set(a.s.id, a.pub.current().Status, "")
	a.start("clear")
	show("❯ /clear\n")
}

// compact replaces the conversation with a summary.
func (a *app) compact() {
	a.fire("PreCompact", "manual", map[string]any{"trigger": "manual"})
	summary, err := a.ask(context.Background(), append(slices.Clone(a.s.messages), message{Role: "user", Content: []block{text("Summarize.")}}), nil)
	if err != nil {
		show("compact: %v\n", err)
		return
	}
	for range 2 {
		a.fire("SubagentStop", "", map[string]any{"agent_id": "compact", "agent_type": ""})
	}
	a.s.messages = []message{{Role: "user", Content: append([]block{text("This session is being continued. Summary:")}, summary.Content...)}}
	a.s.unwritten = 0
	a.start("compact")
	a.fire("PostCompact", "manual", map[string]any{"trigger": "manual"})
	show("❯ /compact\n")
}

// end runs the SessionEnd hooks and stops all processes.
func (a *app) end(reason string) {
	a.fire("SessionEnd", reason, map[string]any{"reason": reason})
	a.aside.signal(syscall.SIGTERM)
	a.stopMonitors()
	<-a.ready
	for _, s := range a.servers {
		s.stop()
	}
	a.pub.remove()
}

// childEnv returns the environment of child processes.
func (a *app) childEnv(agent string) []string {
	return append(os.Environ(), "CLAUDECODE=1", "CLAUDE_CODE_SESSION_ID="+a.s.id, "CLAUDE_PROJECT_DIR="+a.s.cwd,
		"CLAUDE_CODE_ENTRYPOINT="+a.s.entrypoint, "AI_AGENT=claude-code_2-1-330_"+agent)
}

func isPID(entry string) bool { return strings.HasPrefix(entry, "CLAUDE_PID=") }

// readKeys translates standard input to events.
func readKeys(events chan<- any) {
	r := bufio.NewReader(os.Stdin)
	text := ""
	for {
		key, _, err := r.ReadRune()
		if err != nil {
			events <- closed{}
			return
		}
		switch key {
		case '\r', '\n':
			events <- typed(text)
			text = ""
		case '\x1b':
			events <- esc{}
			text = ""
		default:
			text += string(key)
		}
	}
}

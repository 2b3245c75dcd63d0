package main

import (
	"bufio"
	"fmt"
	"html"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// startMonitor starts a monitor. Each line that it prints becomes a notification to the model.
func (a *app) startMonitor(p plugin, config monitorConfig) error {
	cmd := exec.Command("/bin/sh", "-c", p.expand(config.Command))
	cmd.Dir, cmd.Env = a.s.cwd, append(a.childEnv("agent"), "CLAUDE_PID="+fmt.Sprint(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	a.monitors = append(a.monitors, cmd.Process.Pid)
	go func() { // ends with the monitor's output; stopMonitors ends the monitor
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			if line := strings.TrimSpace(scanner.Text()); line != "" {
				show("● Monitor event: %s · %s\n", line, config.Description)
				a.events <- note(notification("Monitor event: \""+config.Description+"\"", "<event>"+escape(line)+"</event>"))
			}
		}
		_ = cmd.Wait()
		a.events <- note(notification(`Monitor "`+config.Description+`" stream ended`, ""))
	}()
	return nil
}

func (a *app) stopMonitors() {
	for _, pid := range a.monitors {
		_ = syscall.Kill(-pid, syscall.SIGTERM)
	}
}

func escape(s string) string { return html.EscapeString(s) }

// notification formats a notification of the harness.
func notification(summary, detail string) string {
	return "<task-notification>\n<task-id>b1</task-id>\n<summary>" + summary + "</summary>\n" + detail + "\n</task-notification>"
}

// notice adds the system's introduction to a notification.
func notice(notification string) string {
	return "[SYSTEM NOTIFICATION - NOT USER INPUT]\nThis is an automated background-task event, NOT a message from the user.\n" + notification
}

// reminder wraps a notice for use as a prompt.
func reminder(notification string) string {
	return "<system-reminder>\n" + notice(notification) + "\n</system-reminder>"
}

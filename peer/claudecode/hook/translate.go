package hook

import (
	"strings"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// The variables with which `claudemesh launch` passes its options to the hooks.
const (
	EnvMesh   = "CLAUDEMESH_MESH"   // slugs, separated by commas
	EnvName   = "CLAUDEMESH_NAME"   // display name
	EnvRole   = "CLAUDEMESH_ROLE"   // free text
	EnvGroups = "CLAUDEMESH_GROUPS" // name or name:role, separated by commas
	EnvLaunch = "CLAUDEMESH_LAUNCH" // process id of the claude that the options are for
)

// waiting is the status reason of a working session that waits for its user's decision.
const waiting = "waiting"

// register returns the registration of the session that the process runs.
func register(e *Event, pid int, start string, env func(string) string) *local.Register {
	r := &local.Register{
		PID: pid, ProcStart: start,
		SessionID: string(e.SessionID), Source: source(e), Cwd: string(e.Cwd),
		Meshes: list(env(EnvMesh)), Name: env(EnvName), Role: env(EnvRole),
		Title: string(e.Title), Model: string(e.Model),
	}
	for _, item := range list(env(EnvGroups)) {
		name, role, _ := strings.Cut(item, ":")
		if wire.ValidGroup(name) {
			r.Groups = append(r.Groups, wire.Group{Name: name, Role: role})
		}
	}
	return r
}

// source returns the source of a SessionStart event. An unknown source counts as resume, which
// changes the least.
func source(e *Event) local.Source {
	switch s := local.Source(e.Source); s {
	case local.SourceStartup, local.SourceResume, local.SourceCompact, local.SourceFork, local.SourceClear:
		return s
	}
	return local.SourceResume
}

// list splits s at commas and drops empty items.
func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// activity returns what an event says about a session, or nil if it says nothing.
func activity(e *Event, pid int) *local.Activity {
	a := &local.Activity{PID: pid, SessionID: string(e.SessionID), Title: string(e.Title), Transcript: string(e.Transcript), Status: wire.Working}
	switch e.Name {
	case userPromptSubmit:
		a.Human = e.human()
		a.NewTurn = true
		a.WantPointer = true
	case preToolUse:
		// A model that is about to check its messages needs no pointer.
		a.WantPointer = !checksMessages(e.Tool)
	case postToolUse:
		// This doesn't prove that the model gets the result: Claude Code also sends it if the
		// user has interrupted the turn.
		a.WantPointer = true
	case postToolBatch:
		a.WantPointer = true
		a.Ended = e.checks()
	case permissionRequest:
		a.Reason = waiting
	case notification:
		return notified(e, a)
	case stop, stopFailure:
		// No pointer: text added to the context here makes Claude Code start another turn.
		a.Status = wire.Idle
		a.TurnOver = e.Name == stop
	default:
		return nil
	}
	return a
}

func notified(e *Event, a *local.Activity) *local.Activity {
	switch e.Notification {
	case "idle_prompt":
		a.Status = wire.Idle
	case "permission_prompt", "elicitation_dialog":
		a.Reason = waiting
	default:
		return nil
	}
	return a
}

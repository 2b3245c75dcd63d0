package hook

import (
	"strings"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// The variables by which `claudemesh launch` hands its options on.
const (
	EnvMesh   = "CLAUDEMESH_MESH"   // slugs, separated by commas
	EnvName   = "CLAUDEMESH_NAME"   // as peers see it
	EnvRole   = "CLAUDEMESH_ROLE"   // free text
	EnvGroups = "CLAUDEMESH_GROUPS" // name or name:role, separated by commas
	EnvLaunch = "CLAUDEMESH_LAUNCH" // the process id of the claude that all this is meant for
)

// waiting is the reason of a session that works on, but for its user's decision.
const waiting = "waiting"

// register says which session the process runs.
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

// source is the event's own, or, for one that is not known yet, resume, which
// changes least.
func source(e *Event) local.Source {
	switch s := local.Source(e.Source); s {
	case local.SourceStartup, local.SourceResume, local.SourceCompact, local.SourceFork, local.SourceClear:
		return s
	}
	return local.SourceResume
}

// list splits at commas and leaves out what is empty.
func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// activity is what an event within a session says; nil for one that says nothing.
func activity(e *Event, pid int) *local.Activity {
	a := &local.Activity{PID: pid, SessionID: string(e.SessionID), Title: string(e.Title), Transcript: string(e.Transcript), Status: wire.Working}
	switch e.Name {
	case userPromptSubmit:
		a.Human = e.human()
		a.NewTurn = true
		a.WantPointer = true
	case preToolUse:
		// Whoever is about to check need not be told to.
		a.WantPointer = !checksMessages(e.Tool)
	case postToolUse:
		// It says nothing of what the model gets: it fires for a tool whose turn the user
		// has interrupted, too.
		a.WantPointer = true
	case postToolBatch:
		a.WantPointer = true
		a.Ended = e.checks()
	case permissionRequest:
		a.Reason = waiting
	case notification:
		return notified(e, a)
	case stop, stopFailure:
		// No pointer: context at this point makes Claude Code begin another turn.
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

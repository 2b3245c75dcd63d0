package local

import (
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// The verbs of the owner.
const (
	VerbStatus   = "status"   // nothing → Status
	VerbRegister = "register" // Register → Registered
	VerbActivity = "activity" // Activity → Pointer
	VerbPrinted  = "printed"  // Printed → nothing
	VerbEnd      = "end"      // End → nothing
	VerbShutdown = "shutdown" // Shutdown → nothing, after the daemon has stopped accepting calls

	// These send as the member, over its own connection, and not as one of its sessions.
	VerbMemberSend          = "member-send"           // Send → Sent
	VerbMemberMessageStatus = "member-message-status" // MessageQuery → MessageStatus
)

// Source says how a process came to run its session.
type Source string

// The sources. All but SourceLaunch are sources of Claude Code's SessionStart.
const (
	SourceLaunch  Source = "launch" // `claudemesh launch`, before claude starts
	SourceStartup Source = "startup"
	SourceResume  Source = "resume"
	SourceCompact Source = "compact"
	SourceFork    Source = "fork"
	// SourceClear ends the process's session and starts another one in its place.
	SourceClear Source = "clear"
)

// Register says that a process runs a session. Registering a session again only changes the
// fields that are set. With any Source but SourceLaunch a new context starts, and the daemon
// tells it of all unread messages. A process runs one session at a time: with another
// SessionID it leaves its previous session.
type Register struct {
	PID int `json:"pid"` // of claude
	// Domain is the pid namespace of PID, as process.Domain names it. "" means the daemon's.
	Domain string `json:"pidDomain,omitempty"`
	// ProcStart is the start time of the process in the system's format (Linux: field 22 of
	// /proc/PID/stat). It distinguishes the process from a later one with the same PID. If it
	// is "", the daemon looks it up.
	ProcStart string `json:"procStart,omitempty"`
	SessionID string `json:"sessionId"` // UUID
	Source    Source `json:"source"`
	Cwd       string `json:"cwd"`
	// ConfigDir is the absolute path of Claude Code's directory, with the transcript and the
	// published status of the session. "" means the daemon's default.
	ConfigDir string       `json:"configDir,omitempty"`
	Meshes    []string     `json:"meshes,omitempty"` // slugs or ids; empty means the only joined mesh
	Name      string       `json:"name,omitempty"`   // display name; "" means the previous one, or else the member's
	Role      string       `json:"role,omitempty"`
	Groups    []wire.Group `json:"groups,omitempty"`
	Title     string       `json:"title,omitempty"`
	Model     string       `json:"model,omitempty"`
	// Parent is the claude process whose session started this one, for example with a tool, in
	// the same pid namespace. 0 means none. A new session is named after its parent's.
	Parent int `json:"parent,omitempty"`
	// Trial marks a session that exists only for a check. It gets only messages that are
	// sealed for its own key.
	Trial bool `json:"trial,omitempty"`
	// CannotRead predicts why the session won't be able to read its messages; "" if it will.
	// What the daemon observes later overrides it.
	CannotRead string `json:"cannotRead,omitempty"`
}

// Registered answers Register.
type Registered struct {
	Token    string   `json:"token"`
	Meshes   []string `json:"meshes"` // slugs
	Warnings []string `json:"warnings,omitempty"`
}

// Activity reports an event in a session.
type Activity struct {
	PID       int         `json:"pid"`
	Domain    string      `json:"pidDomain,omitempty"` // see Register
	SessionID string      `json:"sessionId"`
	Status    wire.Status `json:"status,omitempty"` // Idle or Working; "" means unchanged
	Reason    string      `json:"reason,omitempty"` // with Working: "waiting" (for the user)
	Human     bool        `json:"human,omitempty"`  // the user has written a prompt
	Title     string      `json:"title,omitempty"`  // of the session, if it is known
	// Ended lists the calls of check_messages in a batch of tools that has ended. Their
	// answers go to the model.
	Ended []string `json:"ended,omitempty"`
	// NewTurn means that a prompt starts a turn. No call of an earlier turn is in progress.
	NewTurn bool `json:"newTurn,omitempty"`
	// TurnOver means that the model has ended a turn by itself.
	TurnOver bool `json:"turnOver,omitempty"`
	// Transcript is the file with the conversation.
	Transcript string `json:"transcript,omitempty"`
	// WantPointer means that the caller will add the answer's Pointer to the context. The
	// Pointer is empty if there is nothing new, or if the daemon uses a better path.
	WantPointer bool `json:"wantPointer,omitempty"`
}

// Pointer answers Activity. It contains the text to add to the session's context, or "".
type Pointer struct {
	Pointer string `json:"pointer,omitempty"`
	Number  int64  `json:"number,omitempty"` // for Printed
}

// Printed confirms that a hook has printed a Pointer. If no confirmation arrives within a
// second, the hook may have run out of time, and the daemon sends the pointer another way.
type Printed struct {
	PID    int    `json:"pid"`
	Domain string `json:"pidDomain,omitempty"` // see Register
	Number int64  `json:"number"`
}

// End says that a process has left its session.
type End struct {
	PID       int    `json:"pid"`
	Domain    string `json:"pidDomain,omitempty"` // see Register
	SessionID string `json:"sessionId"`
	Reason    string `json:"reason,omitempty"` // Claude Code's reason; a SourceClear follows "clear"
}

// Shutdown stops the daemon. With Leave, its sessions leave their meshes. Without, their
// presence lasts until its lease expires, so that the next daemon can take over at once.
type Shutdown struct {
	Leave bool `json:"leave"`
}

// Status is what `claudemesh daemon status` shows.
type Status struct {
	PID      int             `json:"pid"`
	Build    Build           `json:"build"`
	Started  time.Time       `json:"started"`
	Meshes   []MeshStatus    `json:"meshes"`
	Sessions []SessionStatus `json:"sessions"`
	Outbox   int             `json:"outbox"` // messages that no broker has acknowledged yet
}

// MeshStatus is the state of the daemon's own connection to a mesh.
type MeshStatus struct {
	Slug      string `json:"slug"`
	MeshID    string `json:"meshId"`
	Broker    string `json:"broker"`
	Connected bool   `json:"connected"`
	Error     string `json:"error,omitempty"` // why it is not connected
	Unread    int    `json:"unread"`          // messages to the member that no session has read
}

// SessionStatus is a live session.
type SessionStatus struct {
	SessionID string      `json:"sessionId"`
	Name      string      `json:"name"`
	Title     string      `json:"title,omitempty"`
	Cwd       string      `json:"cwd"`
	PIDs      []int       `json:"pids"` // of claude, each in its own pid namespace; more than one is a conflict
	Status    wire.Status `json:"status"`
	Reason    string      `json:"reason,omitempty"`
	Unread    int         `json:"unread"`
	// CannotRead says why the session can't read its messages; "" if it can.
	CannotRead string          `json:"cannotRead,omitempty"`
	Wake       string          `json:"wake"` // the Path on which the session gets pointers
	Meshes     []SessionInMesh `json:"meshes"`
	Warnings   []string        `json:"warnings,omitempty"`
	Since      time.Time       `json:"since"`
}

// SessionInMesh is a session's connection to a mesh.
type SessionInMesh struct {
	Slug      string   `json:"slug"`
	Key       wire.Key `json:"key"`
	Connected bool     `json:"connected"`
	Replaced  bool     `json:"replaced,omitempty"` // another connection has taken the key over
	Error     string   `json:"error,omitempty"`
}

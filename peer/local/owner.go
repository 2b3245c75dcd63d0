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
	VerbShutdown = "shutdown" // Shutdown → nothing, when the daemon has stopped accepting

	// The member itself sends, over its own connection, and not one of its sessions.
	VerbMemberSend          = "member-send"           // Send → Sent
	VerbMemberMessageStatus = "member-message-status" // MessageQuery → MessageStatus
)

// Source says how a process came to run its session.
type Source string

// The sources; all but Launch are those of Claude Code's SessionStart.
const (
	SourceLaunch  Source = "launch" // `claudemesh launch`, before claude starts
	SourceStartup Source = "startup"
	SourceResume  Source = "resume"
	SourceCompact Source = "compact"
	SourceFork    Source = "fork"
	// SourceClear ends the process's session and begins another one, which goes on
	// in its place.
	SourceClear Source = "clear"
)

// Register says that a process runs a session. To register again what is
// registered already changes nothing but the fields that are given. With any Source
// but SourceLaunch a context begins, which is told of all that is unread. A process
// runs one session at a time: another SessionID ends its part in the one before.
type Register struct {
	PID int `json:"pid"` // of claude
	// Domain is the pid namespace in which PID counts, as process.Domain names it. "":
	// the daemon's own.
	Domain string `json:"pidDomain,omitempty"`
	// ProcStart tells the process from a later one with the same PID, as the
	// system gives it (Linux: field 22 of /proc/PID/stat). "": the daemon looks.
	ProcStart string `json:"procStart,omitempty"`
	SessionID string `json:"sessionId"` // UUID
	Source    Source `json:"source"`
	Cwd       string `json:"cwd"`
	// ConfigDir is the absolute path of the directory where Claude Code keeps and
	// publishes what it knows of the session. "": where the daemon takes it to be.
	ConfigDir string       `json:"configDir,omitempty"`
	Meshes    []string     `json:"meshes,omitempty"` // slugs or ids; none: the only one that is joined
	Name      string       `json:"name,omitempty"`   // as peers see it; "": as it was before, else the member's
	Role      string       `json:"role,omitempty"`
	Groups    []wire.Group `json:"groups,omitempty"`
	Title     string       `json:"title,omitempty"`
	Model     string       `json:"model,omitempty"`
	// Parent is the claude process within whose session this one was started, by a tool
	// for example, in the same namespace; 0: none. A session that is new is named after it.
	Parent int `json:"parent,omitempty"`
	// Trial makes a session that is there for a check only, until it ends: it is
	// handed, and told of, nothing but what is sealed for its own key.
	Trial bool `json:"trial,omitempty"`
	// CannotRead is why the session will not be able to read its messages, as far as it
	// is known before it starts; "": it will. What comes true counts.
	CannotRead string `json:"cannotRead,omitempty"`
}

// Registered answers Register.
type Registered struct {
	Token    string   `json:"token"`
	Meshes   []string `json:"meshes"` // slugs
	Warnings []string `json:"warnings,omitempty"`
}

// Activity is a sign of life of a session's process.
type Activity struct {
	PID       int         `json:"pid"`
	Domain    string      `json:"pidDomain,omitempty"` // see Register
	SessionID string      `json:"sessionId"`
	Status    wire.Status `json:"status,omitempty"` // Idle, Working; "": unchanged
	Reason    string      `json:"reason,omitempty"` // with Working: "waiting" (for the user)
	Human     bool        `json:"human,omitempty"`  // the user has written a prompt
	Title     string      `json:"title,omitempty"`  // of the session, if it is known
	// Ended are the calls of check_messages in a batch of tools that has ended: their
	// answers go to the model.
	Ended []string `json:"ended,omitempty"`
	// NewTurn says that a prompt begins a turn: no call of an earlier one is under way.
	NewTurn bool `json:"newTurn,omitempty"`
	// TurnOver says that the model has come to the end of a turn by itself.
	TurnOver bool `json:"turnOver,omitempty"`
	// Transcript is the file that the program keeps the conversation in.
	Transcript string `json:"transcript,omitempty"`
	// WantPointer says that the answer's Pointer will be put into the context. Is
	// there a better path, or nothing new, it stays empty.
	WantPointer bool `json:"wantPointer,omitempty"`
}

// Pointer answers Activity: what to put into the session's context, or "".
type Pointer struct {
	Pointer string `json:"pointer,omitempty"`
	Number  int64  `json:"number,omitempty"` // for Printed
}

// Printed says that a hook has printed a Pointer. One that nobody speaks for within a
// second takes another path: the hook may have run out of time.
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
	Reason    string `json:"reason,omitempty"` // as Claude Code says; "clear" announces a SourceClear
}

// Shutdown stops the daemon. Presences are left when Leave is set; else they stay
// for their lease, for a daemon that follows at once.
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

// MeshStatus is how the daemon's own connection to a mesh stands.
type MeshStatus struct {
	Slug      string `json:"slug"`
	MeshID    string `json:"meshId"`
	Broker    string `json:"broker"`
	Connected bool   `json:"connected"`
	Error     string `json:"error,omitempty"` // why it is not connected
	Unread    int    `json:"unread"`          // member's mail that no session has taken
}

// SessionStatus is a live session.
type SessionStatus struct {
	SessionID string      `json:"sessionId"`
	Name      string      `json:"name"`
	Title     string      `json:"title,omitempty"`
	Cwd       string      `json:"cwd"`
	PIDs      []int       `json:"pids"` // of claude, each in its own namespace; more than one: a conflict
	Status    wire.Status `json:"status"`
	Reason    string      `json:"reason,omitempty"`
	Unread    int         `json:"unread"`
	// CannotRead is why the session can't read its messages; "": it can.
	CannotRead string          `json:"cannotRead,omitempty"`
	Wake       string          `json:"wake"` // the Path by which it is told of messages
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

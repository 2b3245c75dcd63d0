package claude

import "os"

// Program is one way to run Claude Code.
type Program struct {
	Name string
	Path string // the executable
	Real bool   // whether it is the real program, which needs a terminal
}

// realVariable is the environment variable that holds the path of the real program.
const realVariable = "CLAUDEMESH_REAL_CLAUDE"

// Programs returns the stand-in at a path and, if it is available, the real program.
func Programs(standIn string) []Program {
	programs := []Program{StandIn(standIn)}
	if real, ok := RealProgram(); ok {
		programs = append(programs, real)
	}
	return programs
}

// RealProgram returns the real program, which realVariable names.
func RealProgram() (Program, bool) {
	path := os.Getenv(realVariable)
	if path == "" {
		return Program{}, false
	}
	return Program{Name: "claude", Path: path, Real: true}, true
}

// StandIn returns the stand-in at the given path.
func StandIn(path string) Program { return Program{Name: "stand-in", Path: path} }

package claude

import "os"

// Program is one way to run Claude Code.
type Program struct {
	Name string
	Path string // of the executable
	Real bool   // needs a terminal
}

// RealVariable names the environment variable with the path of the real program.
const RealVariable = "CLAUDEMESH_REAL_CLAUDE"

// Programs returns the stand-in at a path, and the real program where there is one.
func Programs(standIn string) []Program {
	programs := []Program{StandIn(standIn)}
	if real, ok := RealProgram(); ok {
		programs = append(programs, real)
	}
	return programs
}

// RealProgram returns the real program, which RealVariable names.
func RealProgram() (Program, bool) {
	path := os.Getenv(RealVariable)
	if path == "" {
		return Program{}, false
	}
	return Program{Name: "claude", Path: path, Real: true}, true
}

// StandIn returns the stand-in at a path.
func StandIn(path string) Program { return Program{Name: "stand-in", Path: path} }

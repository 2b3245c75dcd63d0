package launch

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args string // separated by |
		want Args
	}{
		{"", Args{}},
		{"fix the build", Args{}},
		{"--resume|abc", Args{Resumes: true, Resume: "abc"}},
		{"--resume=abc", Args{Resumes: true, Resume: "abc"}},
		{"-r|abc", Args{Resumes: true, Resume: "abc"}},
		{"-rabc", Args{Resumes: true, Resume: "abc"}},
		{"--resume", Args{Resumes: true}},
		{"--resume|--model|opus", Args{Resumes: true}},
		{"--resume|-p", Args{Resumes: true, Prints: true}},
		{"--continue", Args{Continues: true}},
		{"-c", Args{Continues: true}},
		{"-pc", Args{Continues: true, Prints: true}},
		{"-cp|hi", Args{Continues: true, Prints: true}},
		{"-cr|abc", Args{Continues: true, Resumes: true, Resume: "abc"}},
		{"-c|--fork-session|--session-id|u", Args{Continues: true, Forks: true, SessionID: "u"}},
		{"--session-id=u|prompt", Args{SessionID: "u"}},
		// A value isn't taken for an option, and an option isn't taken for a value.
		{"--append-system-prompt|--continue", Args{}},
		{"--model|-c", Args{}},
		{"-n|-c", Args{}},
		{"-ncp", Args{}},
		{"--append-system-prompt=--continue|-p", Args{Prints: true}},
		{"--allowedTools|Bash|Edit|--continue", Args{Continues: true}},
		{"--add-dir|mcp|agents|-c", Args{Continues: true}},
		{"--debug|-c", Args{Continues: true}},
		{"-d|api|-c", Args{Continues: true}},
		{"--|--continue", Args{}},
		{"prompt|--|-c", Args{}},
		{"prompt|-c", Args{Continues: true}},
		{"-", Args{}},
		// This process runs no session.
		{"mcp|list", Args{NoSession: true}},
		{"--verbose|plugin|list", Args{NoSession: true}},
		{"--model|mcp", Args{}},
		{"fix|mcp", Args{}},
		{"--|mcp", Args{}},
		{"--version", Args{NoSession: true}},
		{"-h", Args{NoSession: true}},
		{"--bg|do it", Args{Elsewhere: true}},
		{"--worktree|x", Args{Elsewhere: true}},
		{"-w", Args{Elsewhere: true}},
		{"--from-pr|7", Args{Elsewhere: true}},
	} {
		var args []string
		if tc.args != "" {
			args = strings.Split(tc.args, "|")
		}
		if got := Parse(args); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.args, got, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-pc|--resume|x|--|y")
	f.Fuzz(func(t *testing.T, args string) {
		list := strings.Split(args, "|")
		a := Parse(list)
		if a.Resume != "" && !a.Resumes {
			t.Errorf("%q: %+v", list, a)
		}
		if b := Parse(append([]string{"--"}, list...)); b != (Args{}) {
			t.Errorf("the prompt %q: %+v", list, b)
		}
	})
}

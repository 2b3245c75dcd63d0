package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/launch"
)

func TestFindMeshes(t *testing.T) {
	t.Parallel()
	one := &peer.Config{Meshes: []peer.Mesh{{Slug: "team", MeshID: "1"}}}
	several := &peer.Config{Meshes: []peer.Mesh{{Slug: "team", MeshID: "1"}, {Slug: "home", MeshID: "2"}, {Slug: "home", MeshID: "3"}}}
	for _, tc := range []struct {
		name   string
		config *peer.Config
		wanted []string
		want   string // "": refused
	}{
		{"the only one", one, nil, "team"},
		{"none joined", &peer.Config{}, nil, ""},
		{"which?", several, nil, ""},
		{"by slug", several, []string{"team"}, "team"},
		{"by id", several, []string{"1"}, "team"},
		{"twice", several, []string{"team", " 1 "}, "team"},
		{"a slug of two", several, []string{"home"}, ""},
		{"an id, for the slug is of two", several, []string{"team", "3"}, "team,3"},
		{"not joined", several, []string{"team", "x"}, ""},
	} {
		got, err := findMeshes(tc.config, tc.wanted)
		var choice *peer.MeshChoiceError
		if strings.Join(got, ",") != tc.want || (tc.want == "") != errors.As(err, &choice) {
			t.Errorf("%s: got %q, %v", tc.name, got, err)
		}
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	// The form reads one byte at a time; claude gets the rest.
	in := strings.NewReader("bob\n\na b\nback:lead,docs\r\nfor claude")
	o := launch.Options{}
	if err := (&form{ctx: t.Context(), in: in, out: &out}).identity(&o); err != nil {
		t.Fatal(err)
	}
	if o.Name != "bob" || o.Role != "" || len(o.Groups) != 2 || o.Groups[0].Role != "lead" || o.Groups[1].Name != "docs" {
		t.Errorf("got %+v", o)
	}
	if rest, err := io.ReadAll(in); string(rest) != "for claude" || err != nil {
		t.Errorf("left for claude: %q", rest)
	}
	if !strings.Contains(out.String(), "isn't a valid group name") {
		t.Errorf("asked: %s", out.String())
	}
	for _, o := range []launch.Options{{Name: "x"}, {Role: "x"}, {Args: []string{"--continue"}}, {Args: []string{"-r", "x"}}} {
		if err := (&form{ctx: t.Context(), in: strings.NewReader(""), out: &out}).identity(&o); err != nil {
			t.Errorf("%+v was asked for more: %v", o, err)
		}
	}
	if err := (&form{ctx: t.Context(), in: strings.NewReader("no line end"), out: &out}).identity(&launch.Options{}); err == nil {
		t.Error("the end of the input was taken for an answer")
	}
	stopped, stop := context.WithCancel(t.Context())
	silent, end := io.Pipe()
	defer end.Close() // ends the form's reading goroutine
	stop()            // Ctrl-C
	if err := (&form{ctx: stopped, in: silent, out: &out}).identity(&launch.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	config := &peer.Config{Meshes: []peer.Mesh{{Slug: "team", MeshID: "mesh-00000001"}, {Slug: "home", MeshID: "mesh-00000002"}, {Slug: "home", MeshID: "mesh-00000003"}}}
	for in, want := range map[string]string{"\n": "team,mesh-00000002,mesh-00000003", "team\n": "team", "00000003\n": "mesh-00000003"} {
		got, err := (&form{ctx: t.Context(), in: strings.NewReader(in), out: &out}).meshes(config)
		if err == nil {
			got, err = findMeshes(config, got)
		}
		if strings.Join(got, ",") != want || err != nil {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
}

func TestLaunchCommandLine(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		says string
	}{
		{"word before --", []string{"launch", "fix"}, "put arguments for claude after --"},
		{"both ways back", []string{"launch", "--continue", "--resume", "x"}, "use only one of"},
		{"bad group", []string{"launch", "--groups", "a b"}, "isn't a valid group name"},
		{"long name", []string{"launch", "--name", strings.Repeat("x", 200)}, "at most"},
	} {
		t.Setenv("CLAUDEMESH_CONFIG_DIR", t.TempDir())
		t.Setenv("CLAUDEMESH_CLAUDE", "/bin/sh")
		var errOut bytes.Buffer
		if code := Main(tc.args, strings.NewReader(""), io.Discard, &errOut); code != exitUsage || !strings.Contains(errOut.String(), tc.says) {
			t.Errorf("%s: exit code %d, %s", tc.name, code, errOut.String())
		}
	}
	for name, f := range map[string]launchFlags{
		"--resume x": {resume: "x"}, "--continue": {resumeLast: true}, "--session-id u": {sessionID: "u"}, "": {},
	} {
		if got := f.forClaude(); !slices.Equal(got, strings.Fields(name)) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestRepairKeys(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if changed, err := repairKeys(root + "/none"); len(changed) > 0 || err != nil {
		t.Errorf("none: %q, %v", changed, err)
	}
	writeFile(t, root+"/team/aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa.json", "torn", 0o644)
	changed, err := repairKeys(root)
	if err != nil || len(changed) < 2 || !strings.Contains(strings.Join(changed, "\n"), "0644") || !strings.Contains(changed[len(changed)-1], "damaged") {
		t.Errorf("got %q, %v", changed, err)
	}
	changed, err = repairKeys(root)
	if err != nil || len(changed) != 1 {
		t.Errorf("a second time: %q, %v", changed, err)
	}
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

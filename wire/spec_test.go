package wire_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// TestSpecNamesEveryConstant checks that SPEC.md names every code, close reason, ack word
// and message type of this package, between backticks.
func TestSpecNamesEveryConstant(t *testing.T) {
	t.Parallel()
	spec, err := os.ReadFile("../SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	named := inCode(string(spec))
	for name, value := range protocolConstants(t) {
		if !named[value] {
			t.Errorf("SPEC.md does not name %q (%s)", value, name)
		}
	}
}

// TestSpecNamesWhatIsSignedAndSent checks that SPEC.md names the texts that get signed and
// the fields of pushes, acks and roster rows.
func TestSpecNamesWhatIsSignedAndSent(t *testing.T) {
	t.Parallel()
	spec, err := os.ReadFile("../SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("signing.go")
	if err != nil {
		t.Fatal(err)
	}
	domains := regexp.MustCompile("\"(claudemesh-[a-z-]+)[|]").FindAllSubmatch(source, -1)
	if len(domains) < 7 {
		t.Fatalf("signing.go has %d domains of signatures", len(domains))
	}
	for _, d := range domains {
		if !strings.Contains(string(spec), "| `"+string(d[1])+`\|`) {
			t.Errorf("SPEC.md does not say what is signed as %s", d[1])
		}
	}
	named := inCode(string(spec))
	push := wire.Push{
		SenderMemberPubkey: wire.Key{1}, SenderMemberID: wire.ID{1}, SenderName: "x", ClientID: "x", Fingerprint: "x", Topic: "x",
		ReplyTo: "x", Mentions: []string{"x"}, BodyVersion: 1, KeyEpoch: 1, SenderAttestation: &wire.Attestation{}, TargetSpec: "*",
	}
	row := wire.PeerRow{
		Hostname: "x", PeerType: "x", Channel: "x", Model: "x", Stats: []byte("{}"), Profile: &wire.Profile{}, MemberRole: "x",
		StatusReason: "x", Attestation: &wire.Attestation{}, SealedGroups: true,
	}
	text, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	ack := wire.Ack{Unopened: []wire.Unopened{{Attestation: &wire.Attestation{}}}, MoreUnopened: 1, Repeated: true, Error: "x", ReqID: "x"}
	for _, message := range [][]byte{push.AppendJSON(nil), text, ack.AppendJSON(nil)} {
		var fields map[string]any
		if err := json.Unmarshal(message, &fields); err != nil {
			t.Fatal(err)
		}
		for name := range fields {
			if !named[name] {
				t.Errorf("SPEC.md does not name the field %s of %s", name, message)
			}
		}
	}
}

// TestSpecNamesTestsThatExist checks that the tests that SPEC.md, SECURITY.md and docs/client.md
// name, as package.Test, exist.
func TestSpecNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	exist := tests(t, "..")
	for _, page := range []string{"SPEC.md", "SECURITY.md", "docs/client.md"} {
		text, err := os.ReadFile("../" + page)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`([a-z]+\\.(?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(text, -1)
		if len(named) == 0 {
			t.Fatalf("%s names no test", page)
		}
		for _, m := range named {
			if name := string(m[1]); !exist[name] {
				t.Errorf("%s names the test %s, which does not exist", page, name)
			}
		}
	}
}

// tests returns the names of all tests and fuzz tests below root, each prefixed with
// its directory's name.
func tests(t *testing.T, root string) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
	found := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range function.FindAllSubmatch(text, -1) {
			found[filepath.Base(filepath.Dir(path))+"."+string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// protocolConstants returns the protocol's strings by the names of their constants.
func protocolConstants(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	prefixes := []string{"Code", "Reason", "Ack", "Type", "Event", "Cap", "Role", "Recipient", "Subtype", "Source"}
	for _, file := range []string{"errors.go", "client.go", "server.go", "received.go", "life.go", "moderation.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, name := range spec.Names {
				if i >= len(spec.Values) || !hasPrefix(name.Name, prefixes) {
					continue
				}
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					value, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					found[name.Name] = value
				}
			}
			return true
		})
	}
	if len(found) < 60 {
		t.Fatalf("found only %d constants: %v", len(found), found)
	}
	return found
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// inCode returns the pieces of text between backticks, whole and split into words.
func inCode(text string) map[string]bool {
	named := make(map[string]bool)
	for i, piece := range strings.Split(text, "`") {
		if i%2 == 0 {
			continue
		}
		named[piece] = true
		for _, word := range strings.FieldsFunc(piece, func(r rune) bool {
			return r != '_' && r != '-' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
		}) {
			named[word] = true
		}
	}
	return named
}

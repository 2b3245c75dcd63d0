package broker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// Words that clients of protocol v1 take as final: their sessions in an ack, and some of
// the clients in any error.
var (
	finalForSessions = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|target_not_found`)
	finalForSome     = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|not_found|payload_too_large|schema|auth|signature`)
)

// TestWordsOfErrors checks every error in the source of this package and of mesh, whose
// refusals clients get as they are: v1 clients must take a final error as final, and a
// transient one as transient.
func TestWordsOfErrors(t *testing.T) {
	t.Parallel()
	words := constants(t, "../wire/errors.go")
	acks, frames, refusals := 0, 0, 0
	eachCall(t, func(where, made, constant, text string) {
		word := words[constant]
		switch {
		case strings.HasPrefix(made, "refuse") && constant == "CodeMalformed": // the answer of an HTTP route
		case word == "":
			t.Errorf("%s: %s is not a constant of package wire", where, constant)
		case made == "refusal":
			acks++
			full, final := wire.AckError(word, text), wire.AckFinal(word)
			if final && !finalForSessions.MatchString(full) || !final && finalForSome.MatchString(full) {
				t.Errorf("%s: final is %v, but a v1 client reads the opposite from %q", where, final, full)
			}
		default:
			if frames++; strings.HasPrefix(made, "refuse") {
				refusals++
			}
			full, final := word+": "+text, wire.Code(word).Final()
			if final != finalForSome.MatchString(full) {
				t.Errorf("%s: final is %v, but a v1 client reads the opposite from %q", where, final, full)
			}
		}
	})
	if acks < 10 || frames-refusals < 8 || refusals < 20 {
		t.Fatalf("found %d errors in acks, %d refusals of mesh and %d others, want at least 10, 20 and 8", acks, refusals, frames-refusals)
	}
	for name, word := range words {
		if strings.HasPrefix(name, "Ack") {
			if full, final := wire.AckError(word, "x"), wire.AckFinal(word); final != finalForSessions.MatchString(full) || !final && finalForSome.MatchString(full) {
				t.Errorf("%s: final is %v, but a v1 client reads the opposite from %q", name, final, full)
			}
		}
	}
}

// constants returns the string constants of a file by name.
func constants(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == len(spec.Names) {
			for i, name := range spec.Names {
				found[name.Name] = literals(spec.Values[i])
			}
		}
		return true
	})
	return found
}

// eachCall calls found for each expression in the source that makes an error:
// refusal{wire.X, text}, requestError{wire.X, text} and sendError(wire.X, text) in the
// broker's, refuse(wire.X, text) and refuseFor(wire.X, err) in the mesh's.
func eachCall(t *testing.T, found func(where, made, constant, text string)) {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Glob("../mesh/*.go")
	if err != nil {
		t.Fatal(err)
	}
	paths = append(paths, rules...)
	sentinels := constants(t, "../mesh/mesh.go")
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			var made string
			var args []ast.Expr
			switch n := n.(type) {
			case *ast.CompositeLit:
				if name, ok := n.Type.(*ast.Ident); ok {
					made, args = name.Name, n.Elts
				}
			case *ast.CallExpr:
				switch f := n.Fun.(type) {
				case *ast.SelectorExpr:
					made, args = f.Sel.Name, n.Args
				case *ast.Ident:
					made, args = f.Name, n.Args
				}
			}
			if !slices.Contains([]string{"refusal", "requestError", "sendError", "refuse", "refuseFor"}, made) || len(args) < 2 {
				return true
			}
			text := literals(args[1])
			if sentinel, ok := args[1].(*ast.Ident); ok && made == "refuseFor" {
				text = sentinels[sentinel.Name]
			}
			if constant, ok := args[0].(*ast.SelectorExpr); ok {
				if from, ok := constant.X.(*ast.Ident); ok && from.Name == "wire" {
					found(set.Position(n.Pos()).String(), made, constant.Sel.Name, text)
				}
			}
			return true
		})
	}
}

// literals returns the string literals in an expression, joined.
func literals(e ast.Expr) string {
	var all strings.Builder
	ast.Inspect(e, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				all.WriteString(text)
			}
		}
		return true
	})
	return all.String()
}

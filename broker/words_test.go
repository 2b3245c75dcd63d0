package broker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// What clients of protocol v1 take as final: their sessions, of an ack, and all of
// them, of anything.
var (
	finalForSessions = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|target_not_found`)
	finalForSome     = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|not_found|payload_too_large|schema|auth|signature`)
)

// Every error that the broker's source holds is taken by v1 clients for what it is: a
// final one for final, a passing one for passing.
func TestWordsOfErrors(t *testing.T) {
	t.Parallel()
	words := constants(t, "../wire/errors.go")
	acks, frames := 0, 0
	eachCall(t, func(where, made, constant, text string) {
		word := words[constant]
		switch {
		case word == "":
			t.Errorf("%s: %s is no constant of package wire", where, constant)
		case made == "refusal":
			acks++
			full, final := wire.AckError(word, text), wire.AckFinal(word)
			if final && !finalForSessions.MatchString(full) || !final && finalForSome.MatchString(full) {
				t.Errorf("%s: final is %v, but not for a v1 client that reads %q", where, final, full)
			}
		default:
			frames++
			full, final := word+": "+text, wire.Code(word).Final()
			if final != finalForSome.MatchString(full) {
				t.Errorf("%s: final is %v, but not for a v1 client that reads %q", where, final, full)
			}
		}
	})
	if acks < 10 || frames < 8 {
		t.Fatalf("found %d errors of acks and %d others", acks, frames)
	}
	for name, word := range words {
		if strings.HasPrefix(name, "Ack") {
			if full, final := wire.AckError(word, "x"), wire.AckFinal(word); final != finalForSessions.MatchString(full) || !final && finalForSome.MatchString(full) {
				t.Errorf("%s: final is %v, but not for a v1 client that reads %q", name, final, full)
			}
		}
	}
}

// constants returns the strings of a file's constants, by name.
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

// eachCall finds what makes an error in the broker's source: refusal{wire.X, text},
// requestError{wire.X, text} and sendError(wire.X, text).
func eachCall(t *testing.T, found func(where, made, constant, text string)) {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
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
				if method, ok := n.Fun.(*ast.SelectorExpr); ok {
					made, args = method.Sel.Name, n.Args
				}
			}
			if made != "refusal" && made != "requestError" && made != "sendError" || len(args) < 2 {
				return true
			}
			if constant, ok := args[0].(*ast.SelectorExpr); ok {
				if from, ok := constant.X.(*ast.Ident); ok && from.Name == "wire" {
					found(set.Position(n.Pos()).String(), made, constant.Sel.Name, literals(args[1]))
				}
			}
			return true
		})
	}
}

// literals returns the texts in an expression, one after the other.
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

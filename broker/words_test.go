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

// Words that clients of protocol v1 take as final: their sessions in an ack, and some of
// the clients in any error.
var (
	finalForSessions = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|target_not_found`)
	finalForSome     = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|not_found|payload_too_large|schema|auth|signature`)
)

// TestWordsOfErrors checks every error in the broker's source: v1 clients must take a
// final error as final, and a transient one as transient.
func TestWordsOfErrors(t *testing.T) {
	t.Parallel()
	words := constants(t, "../wire/errors.go")
	acks, frames := 0, 0
	eachCall(t, func(where, made, constant, text string) {
		word := words[constant]
		switch {
		case word == "":
			t.Errorf("%s: %s is not a constant of package wire", where, constant)
		case made == "refusal":
			acks++
			full, final := wire.AckError(word, text), wire.AckFinal(word)
			if final && !finalForSessions.MatchString(full) || !final && finalForSome.MatchString(full) {
				t.Errorf("%s: final is %v, but a v1 client reads the opposite from %q", where, final, full)
			}
		default:
			frames++
			full, final := word+": "+text, wire.Code(word).Final()
			if final != finalForSome.MatchString(full) {
				t.Errorf("%s: final is %v, but a v1 client reads the opposite from %q", where, final, full)
			}
		}
	})
	if acks < 10 || frames < 8 {
		t.Fatalf("found %d errors in acks and %d others, want at least 10 and 8", acks, frames)
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

// eachCall calls found for each expression in the broker's source that makes an error:
// refusal{wire.X, text}, requestError{wire.X, text} and sendError(wire.X, text).
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

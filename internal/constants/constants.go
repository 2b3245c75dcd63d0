// Package constants lists the constants of a Go file, for tests of lists that should have all of them.
package constants

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// Strings returns the values of a file's string constants whose names begin with a prefix, in their order.
func Strings[S ~string](t testing.TB, file, prefix string) []S {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []S
	for _, decl := range tree.Decls {
		constants, ok := decl.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			s := spec.(*ast.ValueSpec)
			if !strings.HasPrefix(s.Names[0].Name, prefix) || len(s.Values) != 1 {
				continue
			}
			literal, ok := s.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				continue
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, S(value))
		}
	}
	if len(values) == 0 {
		t.Fatalf("%s has no constant %s…", file, prefix)
	}
	return values
}

package wire_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// TestWordsAreListed checks that Codes and AckWords have each constant of their kind.
func TestWordsAreListed(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		word, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		switch name := spec.Names[0].Name; {
		case strings.HasPrefix(name, "Code"):
			constants++
			if !slices.Contains(wire.Codes, wire.Code(word)) {
				t.Errorf("Codes lacks %s", name)
			}
		case strings.HasPrefix(name, "Ack"):
			constants++
			if !slices.Contains(wire.AckWords, word) {
				t.Errorf("AckWords lacks %s", name)
			}
		}
		return true
	})
	if constants != len(wire.Codes)+len(wire.AckWords) {
		t.Errorf("there are %d constants, and %d words in the lists", constants, len(wire.Codes)+len(wire.AckWords))
	}
}

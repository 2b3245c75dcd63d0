package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPartsNameFunctions checks that the functions by which parts divides a profile exist. The time
// of a function with a new name would otherwise count for another part.
func TestPartsNameFunctions(t *testing.T) {
	t.Parallel()
	folders := map[string]string{
		"audit": "audit", "broker": "broker", "journal": "journal", "queue": "queue", "wire": "wire",
		"postgres": "storage/postgres", "sqlite": "storage/sqlite",
	}
	for _, p := range parts {
		for _, beginning := range p.functions {
			name, _, _ := strings.Cut(beginning, ".")
			folder, ours := folders[name]
			if !ours {
				continue // of the standard library or of a dependency
			}
			if !slices.ContainsFunc(functionsOf(t, name, folder), func(f string) bool { return strings.HasPrefix(f, beginning) }) {
				t.Errorf("%s: no function begins with %q", p.name, beginning)
			}
		}
	}
}

// functionsOf returns the functions of a package of the repository, as a profile names them.
func functionsOf(t *testing.T, name, folder string) (list []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				list = append(list, name+"."+receiver(f)+f.Name.Name)
			}
		}
	}
	return list
}

// receiver returns the part of a method's name before the method, such as "(*Conn).".
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	switch of := f.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if id, ok := of.X.(*ast.Ident); ok {
			return "(*" + id.Name + ")."
		}
	case *ast.Ident:
		return of.Name + "."
	}
	return "?." // of a generic type; no part names one
}

// TestCostsTogether checks that the sum of a message's cost is the median of the rounds' sums, and
// that a part that has no sample in a round counts as 0.
func TestCostsTogether(t *testing.T) {
	t.Parallel()
	r := newResults()
	for round, costs := range [][2]float64{{1, 9}, {6, 5}, {9, 0}} {
		r.add(costSeries(parts[0].name, sqliteDB), costs[0])
		r.add(costSeries(parts[1].name, sqliteDB), costs[1])
		r.add(series("throughput/cpu", sqliteDB), costs[0]+costs[1])
		r.add(costSeries(partLoad, sqliteDB), float64(round+1))
	}
	rows := r.costRows()
	for i, want := range map[int]costRow{
		0: {parts[0].name, "–", "6.0", "–"}, 1: {parts[1].name, "–", "5.0", "–"}, 2: {parts[2].name, "–", "–", "–"},
		len(rows) - 1: {"together", "–", "12.0", "–"}, // of 11, 13 and 12
	} {
		if rows[i] != want {
			t.Errorf("got %+v, want %+v", rows[i], want)
		}
	}
	if rows := newResults().costRows(); rows != nil {
		t.Errorf("without costs: %+v", rows)
	}
}

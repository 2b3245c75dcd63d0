package caddymesh

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claudemesh/claudemesh/broker"
)

// TestPages checks that the pages in docs/ that are generated from this package are up to
// date. With -update it writes them.
func TestPages(t *testing.T) {
	for name, data := range map[string]any{"options": optionsData(t), "metrics": metricsData(t)} {
		tmpl, err := template.ParseFiles("testdata/" + name + ".md.tmpl")
		if err != nil {
			t.Fatal(err)
		}
		var page bytes.Buffer
		if err := tmpl.Execute(&page, data); err != nil {
			t.Fatal(err)
		}
		file := "../docs/" + name + ".md"
		if *update {
			if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		current, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(current, page.Bytes()) {
			t.Errorf("docs/%s.md is out of date; run make docs", name)
		}
	}
}

// metricRow is one row of the table of metrics.
type metricRow struct{ Name, Labels, Help string }

func metricsData(t *testing.T) []metricRow {
	t.Helper()
	form := regexp.MustCompile(`fqName: "(.*?)", help: "(.*?)", .*variableLabels: \{(.*?)\}`)
	described := make(chan *prometheus.Desc)
	go func() {
		defer close(described)
		collector{&App{measures: newMeasures()}}.Describe(described)
	}()
	var rows []metricRow
	for desc := range described {
		m := form.FindStringSubmatch(desc.String())
		if m == nil {
			t.Fatalf("a metric describes itself as %s", desc)
		}
		rows = append(rows, metricRow{Name: m[1], Help: m[2], Labels: m[3]})
	}
	return rows
}

// optionRow is one row of the page's table.
type optionRow struct{ Name, Variable, Text string }

// storageSection describes a storage module and its only field.
type storageSection struct {
	Syntax, Text string
	Field        optionRow
}

func optionsData(t *testing.T) map[string]any {
	t.Helper()
	docs := readDocs(t)
	limits, settings := Limits{}, broker.DefaultSettings()
	for _, o := range options(&limits, &settings) {
		o.given.set(o.inEffect.get())
	}
	handler := Handler{
		Storage:      json.RawMessage(`{"module": "sqlite"}`),
		CreateMeshes: createToken,
		CreateToken:  "{env.CLAUDEMESH_CREATE_TOKEN}",
		PublicURL:    "https://mesh.example.com",
		Limits:       limits,
	}
	storage := func(syntax string, typ reflect.Type) storageSection {
		return storageSection{syntax, docs.types[typ.Name()], docs.rows(t, typ)[0]}
	}
	return map[string]any{
		"Syntax":   docs.syntax,
		"JSON":     exampleJSON(t, handler),
		"Options":  append(docs.rows(t, reflect.TypeFor[Handler]()), docs.rows(t, reflect.TypeFor[Limits]())...),
		"Storages": []storageSection{storage("sqlite [<path>]", reflect.TypeFor[SQLite]()), storage("postgres [<dsn>]", reflect.TypeFor[Postgres]())},
	}
}

// exampleJSON returns a handler as Caddy's JSON, with readable durations.
func exampleJSON(t *testing.T, h Handler) string {
	t.Helper()
	text, err := json.MarshalIndent(h, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	example := strings.Replace(string(text), "{\n", "{\n\t\"handler\": \"claudemesh\",\n", 1)
	for name, field := range durations(&h.Limits) {
		number := regexp.MustCompile(`("` + name + `": )\d+`)
		example = number.ReplaceAllString(example, `${1}"`+time.Duration(field).String()+`"`)
	}
	return example
}

// durations returns the limits that are durations, by their names.
func durations(l *Limits) map[string]caddy.Duration {
	found := make(map[string]caddy.Duration)
	v := reflect.ValueOf(l).Elem()
	for i := range v.NumField() {
		if d, ok := v.Field(i).Interface().(caddy.Duration); ok {
			found[jsonName(v.Type().Field(i))] = d
		}
	}
	return found
}

// docs holds the comments of this package from which the page is generated.
type docs struct {
	syntax    string                       // the Caddyfile syntax, from UnmarshalCaddyfile's comment
	types     map[string]string            // by type
	fields    map[string]map[string]string // by type and field
	variables map[string]string            // the variables in the shipped Caddyfile, by option
}

func readDocs(t *testing.T) docs {
	t.Helper()
	d := docs{types: map[string]string{}, fields: map[string]map[string]string{}, variables: map[string]string{}}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Name.Name == "UnmarshalCaddyfile" && file == "caddyfile.go" {
					d.syntax = indented(decl.Doc.Text())
				}
			case *ast.GenDecl:
				d.add(decl)
			}
		}
	}
	d.addVariables(t)
	return d
}

// add records the comments of the declared structs.
func (d docs) add(decl *ast.GenDecl) {
	for _, spec := range decl.Specs {
		typ, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		structure, ok := typ.Type.(*ast.StructType)
		if !ok {
			continue
		}
		d.types[typ.Name.Name] = oneLine(decl.Doc.Text())
		fields := make(map[string]string)
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				fields[name.Name] = oneLine(field.Doc.Text())
			}
		}
		d.fields[typ.Name.Name] = fields
	}
}

// addVariables records which variable sets which option in the shipped Caddyfile.
func (d docs) addVariables(t *testing.T) {
	t.Helper()
	shipped, err := os.ReadFile("../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t+([a-z_]+) \{\$([A-Z_]+):`).FindAllSubmatch(shipped, -1) {
		d.variables[string(m[1])] = string(m[2])
	}
	d.variables["storage"] = "DATABASE_URL"
	d.variables["create_token"] = "CLAUDEMESH_CREATE_TOKEN"
}

// rows returns a row for each configuration field of a struct.
func (d docs) rows(t *testing.T, typ reflect.Type) []optionRow {
	t.Helper()
	var rows []optionRow
	for i := range typ.NumField() {
		field := typ.Field(i)
		name := jsonName(field)
		if name == "" {
			continue
		}
		text := d.fields[typ.Name()][field.Name]
		if text == "" {
			t.Errorf("the field %s of %s has no comment", field.Name, typ.Name())
		}
		rows = append(rows, optionRow{name, d.variables[name], strings.ReplaceAll(text, "|", `\|`)})
	}
	return rows
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// oneLine returns a comment's text without line breaks.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// indented returns the indented block of a comment's text.
func indented(text string) string {
	var block []string
	for line := range strings.Lines(text) {
		code, ok := strings.CutPrefix(line, "\t")
		if ok || (len(block) > 0 && line == "\n") {
			block = append(block, code)
		}
	}
	return strings.TrimRight(strings.Join(block, ""), "\n") + "\n"
}

// TestCaddyfilesOfPages adapts every Caddyfile in the README, docs/ and examples/. Caddy must not
// warn about any.
func TestCaddyfilesOfPages(t *testing.T) {
	t.Setenv("CLAUDEMESH_CREATE_TOKEN", "hunter2")
	block := regexp.MustCompile("(?s)```caddyfile\n(.*?)```")
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string][]byte{}
	for _, page := range append(pages, "../README.md") {
		for i, m := range block.FindAllSubmatch(read(t, page), -1) {
			shown[fmt.Sprintf("%s, block %d", page, i+1)] = m[1]
		}
	}
	examples, err := filepath.Glob("../examples/caddyfiles/*.caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range examples {
		shown[example] = read(t, example)
	}
	if len(shown) < 8 {
		t.Fatalf("found only %d Caddyfiles", len(shown))
	}
	for name, text := range shown {
		_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": "Caddyfile"})
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v %v", name, err, warnings)
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

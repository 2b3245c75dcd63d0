package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinks checks that every link between the repository's pages leads to an existing file
// and heading.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^()\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(proseOf(readPage(t, page)), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), filepath.FromSlash(target))
			}
			if _, err := os.Stat(filepath.Join(commands.Repo, file)); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !anchors(readPage(t, file))[anchor] {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
}

// TestListsOfFiles checks that each list of files in a doc.go names all files of its package but
// itself and the tests, and no others.
func TestListsOfFiles(t *testing.T) {
	t.Parallel()
	entry := regexp.MustCompile(`(?m)^//\t([a-z0-9_]+\.go)\s`)
	lists := 0
	err := filepath.WalkDir(commands.Repo, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "doc.go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "\n// # Files\n") {
			return err
		}
		lists++
		listed := make(map[string]bool)
		for _, m := range entry.FindAllStringSubmatch(string(text), -1) {
			listed[m[1]] = true
		}
		files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.go"))
		for _, file := range files {
			name := filepath.Base(file)
			if name != "doc.go" && !strings.HasSuffix(name, "_test.go") && !listed[name] {
				t.Errorf("%s does not list %s", path, name)
			}
			delete(listed, name)
		}
		for name := range listed {
			t.Errorf("%s lists %s, which does not exist", path, name)
		}
		return err
	})
	if err != nil || lists < 10 {
		t.Errorf("found %d lists, want at least 10: %v", lists, err)
	}
}

// TestArchitectureNamesFilesThatExist checks that every Go file that docs/architecture.md names
// exists.
func TestArchitectureNamesFilesThatExist(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`([a-z0-9_/]+\\.go)`").FindAllStringSubmatch(readPage(t, "docs/architecture.md"), -1)
	if len(named) < 10 {
		t.Errorf("docs/architecture.md names %d files, want at least 10", len(named))
	}
	for _, m := range named {
		if _, err := os.Stat(filepath.Join(commands.Repo, filepath.FromSlash(m[1]))); err != nil {
			t.Errorf("docs/architecture.md: %v", err)
		}
	}
}

// TestArchitectureNamesEveryRoom checks that docs/architecture.md describes each package, by
// its name or with its folder, such as peer/claudecode/....
func TestArchitectureNamesEveryRoom(t *testing.T) {
	t.Parallel()
	named := make(map[string]bool)
	for line := range strings.Lines(readPage(t, "docs/architecture.md")) {
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok && strings.HasPrefix(line, "| ") {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				named[m[1]] = true
			}
		}
	}
	for room := range mayImport {
		known := named[room]
		for folder := room; !known && strings.Contains(folder, "/"); {
			folder = folder[:strings.LastIndex(folder, "/")]
			known = named[folder+"/..."]
		}
		if !known {
			t.Errorf("docs/architecture.md doesn't describe %s", room)
		}
	}
}

// TestQuestionsNameEveryCheck checks that docs/faq.md has a heading for each of doctor's checks.
func TestQuestionsNameEveryCheck(t *testing.T) {
	t.Parallel()
	alice := newPatient(t, startServer(t))
	alice.must("create", "team")
	found, _ := alice.diagnose()
	questions := readPage(t, "docs/faq.md")
	for check := range found {
		if !strings.Contains(questions, "\n### `"+check+"`\n") {
			t.Errorf("docs/faq.md doesn't say what to do about the check %q", check)
		}
	}
	if len(found) < 10 {
		t.Errorf("doctor runs only these checks: %v", found)
	}
}

// TestLogsAreDocumented checks that docs/operating.md has each message that the broker logs at level info
// or above, with its level, and no other.
func TestLogsAreDocumented(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(readPage(t, "docs/operating.md"), "\n## Logs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	levels := make(map[string]string) // by message; an … at its end stands for the rest
	for _, row := range regexp.MustCompile(`(?m)^\| (info|warn|error) \| (.*?) \|`).FindAllStringSubmatch(section, -1) {
		for _, m := range regexp.MustCompile("`(.+?)`").FindAllStringSubmatch(row[2], -1) {
			levels[m[1]] = row[1]
		}
	}
	logged := regexp.MustCompile(`\b(?:log|caddy\.Log\(\)\.Named\(".+?"\))\.(?:(Info|Warn|Error)\(|(?:Check|Log)\(level, )"(.+?)"( ?\+)?`)
	found := make(map[string]bool)
	for _, room := range []string{"audit", "broker", "caddymesh", "cluster", "journal", "presence", "queue", "storage"} {
		err := filepath.WalkDir(filepath.Join(commands.Repo, room), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range logged.FindAllStringSubmatch(string(text), -1) {
				level, message, more := strings.ToLower(m[1]), m[2], m[3] != ""
				known := false
				for listed, as := range levels {
					begin, cut := strings.CutSuffix(listed, "…")
					same := listed == message || cut && strings.HasPrefix(message, begin) || more && strings.HasPrefix(listed, message)
					if same && (level == "" || level == as) {
						known, found[listed] = true, true
					}
				}
				if !known {
					t.Errorf("%s logs %q at level %q, and docs/operating.md does not list that", path, message, level)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for message := range levels {
		if !found[message] {
			t.Errorf("docs/operating.md lists %q, which nobody logs", message)
		}
	}
}

// TestTutorialShowsTheClient checks that every line of JavaScript in the tutorial is in the client.
func TestTutorialShowsTheClient(t *testing.T) {
	t.Parallel()
	client := readPage(t, "examples/client/mesh.mjs")
	blocks := regexp.MustCompile("(?s)```js\n(.*?)```").FindAllStringSubmatch(readPage(t, "docs/protocol-tutorial.md"), -1)
	if len(blocks) == 0 {
		t.Fatal("the tutorial has no JavaScript")
	}
	for _, block := range blocks {
		for line := range strings.Lines(block[1]) {
			if line = strings.TrimSpace(line); !strings.Contains(client, line) {
				t.Errorf("the tutorial shows %q, which isn't in the client", line)
			}
		}
	}
}

// pages lists the repository's Markdown files, without test data.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(commands.Repo, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "bin" || entry.Name() == ".git"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			page, err := filepath.Rel(commands.Repo, path)
			found = append(found, page)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 3 {
		t.Fatalf("found only these pages: %v", found)
	}
	return found
}

func readPage(t testing.TB, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(commands.Repo, page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// proseOf returns a page without its code blocks.
func proseOf(page string) string {
	var prose []string
	code := false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if !code {
			prose = append(prose, line)
		}
	}
	return strings.Join(prose, "")
}

// anchors returns the anchors of a page's headings, as GitHub generates them.
func anchors(page string) map[string]bool {
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	drop := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	found := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(proseOf(page), -1) {
		found[strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return found
}

package tests

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// taken has the blocks that tests have taken from pages to run them.
var taken = struct {
	sync.Mutex
	blocks map[string][]harness.Block // by page
}{blocks: make(map[string][]harness.Block)}

// runPages are the pages whose blocks all run in tests, except those in notRun.
var runPages = []string{"README.md", "docs/install.md", "docs/operating.md", "docs/backup.md", "docs/capacity.md", "docs/faq.md"}

// notRun says why no test of this package runs the blocks that begin so.
var notRun = map[string]string{
	"claudemesh (command, Go library)":    "it is a drawing",
	"make run      # ":                    "a list: TestReadme runs make run, and make test runs this test",
	"claudemesh launch --name api\n":      "it needs Claude Code; package tests/claude launches it so",
	"xcaddy build --with ":                "it needs a published version: operator.TestXcaddyPublished has one in a module proxy of its own",
	"claudemesh-broker status          #": "journalctl and man need a booted machine: operator.TestService; TestOperating runs claudemesh-broker status",
	"install -D -m 0755 caddy ":           "operator.TestInstallByHand runs it in another root",
	"docker compose up ":                  "it needs Docker: operator.TestContainer, in its long form",
}

// checkPagesRan fails if a block of a page neither ran nor has a reason. It needs a run of all tests that
// has succeeded so far.
func checkPagesRan() error {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if flag.Lookup(name).Value.String() != "" {
			return nil
		}
	}
	taken.Lock()
	defer taken.Unlock()
	if len(taken.blocks) == 0 {
		return nil // benchmarks only
	}
	var ran []string
	for _, blocks := range taken.blocks {
		for _, b := range blocks {
			ran = append(ran, b.Text)
		}
	}
	reasons := make(map[string]bool)
	var errs []error
	for _, page := range runPages {
		text, err := os.ReadFile(filepath.Join(commands.Repo, page))
		if err != nil {
			return err
		}
		for _, b := range harness.Blocks(string(text)) {
			excused := false
			for begins := range notRun {
				if strings.HasPrefix(b.Text, begins) {
					excused, reasons[begins] = true, true
				}
			}
			if !excused && !slices.Contains(ran, b.Text) {
				errs = append(errs, fmt.Errorf("%s: no test runs this block; run it, or say in notRun why not:\n%s", page, b.Text))
			}
		}
	}
	for begins, reason := range notRun {
		if !reasons[begins] {
			errs = append(errs, fmt.Errorf("no page has a block that begins with %q, which does not run because %s", begins, reason))
		}
	}
	return errors.Join(errs...)
}

// blocksOf returns a page's blocks in some languages, in order; "" is the language of indented ones.
func blocksOf(t testing.TB, page string, languages ...string) (blocks []harness.Block) {
	t.Helper()
	for _, b := range harness.Blocks(readPage(t, page)) {
		if slices.Contains(languages, b.Language) {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// take notes that a test runs a page's block.
func take(page string, b harness.Block) string {
	taken.Lock()
	defer taken.Unlock()
	taken.blocks[page] = append(taken.blocks[page], b)
	return b.Text
}

// takeBlock returns the block of a page that begins so, which the test runs.
func takeBlock(t testing.TB, page, begins string) string {
	t.Helper()
	blocks := harness.Blocks(readPage(t, page))
	i := slices.IndexFunc(blocks, func(b harness.Block) bool { return strings.HasPrefix(b.Text, begins) })
	if i < 0 {
		t.Fatalf("%s has no block that begins with %q", page, begins)
	}
	return take(page, blocks[i])
}

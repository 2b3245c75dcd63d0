package tests

import (
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

package harness

import "strings"

// Block is a block of code on a page.
type Block struct {
	Language string // what follows ```; empty if the block is indented by four spaces instead
	Text     string
}

// Blocks returns a page's blocks, in order.
func Blocks(page string) (blocks []Block) {
	var b Block
	fenced := false
	end := func() {
		if b.Text != "" {
			blocks = append(blocks, b)
		}
		b, fenced = Block{}, false
	}
	for line := range strings.Lines(page + "\n") {
		language, fence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		text, indented := strings.CutPrefix(line, "    ")
		switch {
		case fenced && fence:
			end()
		case fenced:
			b.Text += line
		case fence:
			end()
			b.Language, fenced = language, true
		case indented:
			b.Text += text
		default:
			end()
		}
	}
	return blocks
}

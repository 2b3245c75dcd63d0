package harness

import "strings"

// Fenced returns a page's blocks in a language, those between ```language and ```, in order.
func Fenced(page, language string) (blocks []string) {
	inside, block := false, ""
	for line := range strings.Lines(page) {
		switch text := strings.TrimRight(line, "\n"); {
		case !inside:
			inside = text == "```"+language
		case text == "```":
			blocks, block, inside = append(blocks, block), "", false
		default:
			block += line
		}
	}
	return blocks
}

// Indented returns a page's blocks that are indented by four spaces, in order.
func Indented(page string) (blocks []string) {
	block := ""
	for line := range strings.Lines(page + "\n") {
		if text, ok := strings.CutPrefix(line, "    "); ok {
			block += text
		} else if block != "" {
			blocks, block = append(blocks, block), ""
		}
	}
	return blocks
}

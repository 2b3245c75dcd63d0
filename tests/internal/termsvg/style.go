package termsvg

import (
	"fmt"
	"strconv"
	"strings"
)

// style is the style of a character. Colors are in CSS, "" for the default.
type style struct {
	fg, bg                                string
	bold, dim, italic, underline, reverse bool
}

// palette holds the sixteen terminal colors.
var palette = [16]string{
	"#3b3f48", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#abb2bf",
	"#5c6370", "#ef7e87", "#a9d68a", "#f2d08c", "#74bdf7", "#d68aec", "#68c8d4", "#ffffff",
}

// apply applies the parameters of an SGR sequence to the style.
func (s *style) apply(params string) {
	codes := numbers(params)
	for i := 0; i < len(codes); i++ {
		switch code := codes[i]; {
		case code == 0:
			*s = style{}
		case code == 1:
			s.bold = true
		case code == 2:
			s.dim = true
		case code == 3:
			s.italic = true
		case code == 4:
			s.underline = true
		case code == 7:
			s.reverse = true
		case code == 22:
			s.bold, s.dim = false, false
		case code == 23:
			s.italic = false
		case code == 24:
			s.underline = false
		case code == 27:
			s.reverse = false
		case code >= 30 && code <= 37:
			s.fg = palette[code-30]
		case code >= 90 && code <= 97:
			s.fg = palette[code-90+8]
		case code == 39:
			s.fg = ""
		case code >= 40 && code <= 47:
			s.bg = palette[code-40]
		case code >= 100 && code <= 107:
			s.bg = palette[code-100+8]
		case code == 49:
			s.bg = ""
		case code == 38 || code == 48:
			color, used := extended(codes[i+1:])
			if i += used; code == 38 {
				s.fg = color
			} else {
				s.bg = color
			}
		}
	}
}

// extended reads the codes after 38 or 48: 5;n, or 2;r;g;b.
func extended(codes []int) (color string, used int) {
	switch {
	case len(codes) >= 2 && codes[0] == 5:
		return indexed(codes[1]), 2
	case len(codes) >= 4 && codes[0] == 2:
		return fmt.Sprintf("#%02x%02x%02x", codes[1]&0xff, codes[2]&0xff, codes[3]&0xff), 4
	}
	return "", len(codes)
}

// indexed returns a color of the 256-color palette: 16 basic colors, a cube of 6×6×6 colors, and 24
// grays.
func indexed(n int) string {
	switch {
	case n < 0 || n > 255:
		return ""
	case n < 16:
		return palette[n]
	case n < 232:
		n -= 16
		level := func(i int) int {
			if i == 0 {
				return 0
			}
			return 55 + 40*i
		}
		return fmt.Sprintf("#%02x%02x%02x", level(n/36), level(n/6%6), level(n%6))
	}
	gray := 8 + 10*(n-232)
	return fmt.Sprintf("#%02x%02x%02x", gray, gray, gray)
}

func numbers(params string) []int {
	var list []int
	for _, p := range strings.FieldsFunc(params, func(r rune) bool { return r == ';' || r == ':' }) {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil
		}
		list = append(list, n)
	}
	if list == nil {
		return []int{0}
	}
	return list
}

func (s style) colors() (fg, bg string) {
	fg, bg = s.fg, s.bg
	if fg == "" {
		fg = foreground
	}
	if s.reverse {
		if bg == "" {
			bg = background
		}
		fg, bg = bg, fg
	}
	return fg, bg
}

func (s style) attributes() string {
	var b strings.Builder
	if s.bold {
		b.WriteString(` font-weight="bold"`)
	}
	if s.dim {
		b.WriteString(` opacity="0.6"`)
	}
	if s.italic {
		b.WriteString(` font-style="italic"`)
	}
	if s.underline {
		b.WriteString(` text-decoration="underline"`)
	}
	return b.String()
}

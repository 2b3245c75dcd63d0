package termsvg

import (
	"fmt"
	"slices"
)

// film holds the start times of a picture's scenes.
type film struct {
	starts []float64 // in percent; the last is the end
	length float64   // in seconds
}

func newFilm(scenes []Scene) film {
	f := film{starts: make([]float64, len(scenes)+1)}
	for _, s := range scenes {
		f.length += s.For.Seconds()
	}
	at := 0.0
	for i, s := range scenes {
		f.starts[i] = 100 * at / max(f.length, 0.001)
		at += s.For.Seconds()
	}
	f.starts[len(scenes)] = 100
	return f
}

// shot is a span of scenes, from (inclusive) to (exclusive).
type shot struct{ from, to int }

func (s shot) class() string { return fmt.Sprintf("s%d-%d", s.from, s.to) }

// style writes the CSS that shows the shots of the panes at their times.
func (out *picture) style(panes []drawn) {
	var shots []shot
	for i := range panes {
		for row := range panes[i].rows {
			shots = append(shots, panes[i].shots(row)...)
		}
	}
	last := len(out.film.starts) - 1
	shots = slices.DeleteFunc(shots, func(s shot) bool { return s == shot{0, last} })
	if len(shots) == 0 {
		return
	}
	slices.SortFunc(shots, func(a, b shot) int { return slices.Compare([]int{a.from, a.to}, []int{b.from, b.to}) })
	fmt.Fprintln(out, "<style>")
	for _, s := range slices.Compact(shots) {
		still := "hidden"
		if s.to == last {
			still = "visible"
		}
		fmt.Fprintf(out, ".%s{visibility:%s;animation:%[1]s %.1[3]fs step-end infinite}\n@keyframes %[1]s{", s.class(), still, out.film.length)
		if s.from > 0 {
			fmt.Fprint(out, "0%{visibility:hidden}")
		}
		fmt.Fprintf(out, "%.2f%%{visibility:visible}", out.film.starts[s.from])
		if s.to < last {
			fmt.Fprintf(out, "%.2f%%{visibility:hidden}", out.film.starts[s.to])
		}
		fmt.Fprintln(out, "}")
	}
	fmt.Fprintln(out, "@media (prefers-reduced-motion:reduce){g{animation:none!important}}")
	fmt.Fprintln(out, "</style>")
}

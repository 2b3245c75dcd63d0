package main

import (
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	ours    = color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 0xff}
	ceiling = color.RGBA{R: 0xb8, G: 0xbc, B: 0xc2, A: 0xff}
	others  = color.RGBA{R: 0xd9, G: 0x7b, B: 0x29, A: 0xff}
	second  = color.RGBA{R: 0x3a, G: 0x9a, B: 0x5b, A: 0xff}
)

// bar is one bar of the throughput plot.
type bar struct {
	label, series string
	color         color.Color
}

// throughputBars returns the bars for which there is data: without data, a bar would show a rate of 0.
func (r *results) throughputBars() []bar {
	var list []bar
	for _, db := range databases {
		list = append(list, bar{db, series("throughput", db), ours},
			bar{"S " + db, series("throughput", stored, pathLive, db), ceiling})
	}
	list = append(list, bar{"W", series("throughput", relayed), ceiling},
		bar{"JetStream", series("throughput", oneStream), others},
		bar{"JetStream,\nstream per pair", series("throughput", streamPerPair), others})
	return slices.DeleteFunc(list, func(b bar) bool { return len(r.Series[b.series]) == 0 })
}

// plottable reports whether there is data for both plots.
func (r *results) plottable() bool {
	_, ok := r.of(series("throughput", postgresDB))
	return ok && len(r.growthRows()) > 0
}

// plot writes the plots if there is data.
func (r *results) plot(dir string) error {
	if !r.plottable() {
		return nil
	}
	bars, err := r.throughputPlot()
	if err != nil {
		return err
	}
	latency, memory, err := r.growthPlots()
	if err != nil {
		return err
	}
	return errors.Join(
		drawSVG(filepath.Join(dir, "bench-throughput.svg"), 20*vg.Centimeter, 9*vg.Centimeter, bars),
		drawSVG(filepath.Join(dir, "bench-growth.svg"), 20*vg.Centimeter, 9*vg.Centimeter, latency, memory),
	)
}

// drawSVG draws plots side by side.
func drawSVG(path string, width, height vg.Length, plots ...*plot.Plot) error {
	canvas := vgsvg.New(width, height)
	tiles := draw.Tiles{Rows: 1, Cols: len(plots), PadX: vg.Centimeter, PadTop: 4, PadBottom: 4, PadLeft: 4, PadRight: 8}
	area := draw.New(canvas)
	area.SetColor(color.White) // for pages in dark mode
	area.Fill(area.Rectangle.Path())
	for i, p := range plots {
		p.Draw(tiles.At(area, i, 0))
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

// throughputPlot shows medians as bars and the ranges of the rounds as lines.
func (r *results) throughputPlot() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = "1 kB messages per second, 50 pairs, every commit synced"
	p.Y.Min = 0
	p.Y.Tick.Marker = thousandTicks{}
	var labels []string
	spreads := &ranges{}
	for i, b := range r.throughputBars() {
		s, _ := r.of(b.series)
		chart, err := plotter.NewBarChart(plotter.Values{s.Median}, vg.Points(38))
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", b.label, err)
		}
		chart.XMin, chart.Color, chart.LineStyle.Width = float64(i), b.color, 0
		p.Add(chart)
		spreads.XYs = append(spreads.XYs, plotter.XY{X: float64(i), Y: s.Median})
		spreads.YErrors = append(spreads.YErrors, struct{ Low, High float64 }{s.Median - s.Min, s.Max - s.Median})
		labels = append(labels, b.label)
	}
	lines, err := plotter.NewYErrorBars(spreads)
	if err != nil {
		return nil, fmt.Errorf("draw the ranges: %w", err)
	}
	p.Add(lines)
	p.NominalX(labels...)
	return p, nil
}

// ranges holds points with error bars.
type ranges struct {
	plotter.XYs
	plotter.YErrors
}

// thousandTicks labels an axis with commas between thousands.
type thousandTicks struct{}

// Ticks implements plot.Ticker.
func (thousandTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = number(ticks[i].Value)
		}
	}
	return ticks
}

// growthPlots show latency and memory per session over the number of sessions.
func (r *results) growthPlots() (latency, memory *plot.Plot, err error) {
	latency, memory = plot.New(), plot.New()
	latency.Title.Text, latency.Y.Label.Text = "send→push at 200 messages a second", "ms"
	memory.Title.Text, memory.Y.Label.Text = "memory in use per session", "kB"
	var sizes []int
	for _, l := range layouts {
		sizes = append(sizes, r.sizesOf(l)...)
	}
	for _, p := range []*plot.Plot{latency, memory} {
		p.X.Label.Text = "sessions"
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, sizeTicks{sizes}
		p.X.Min, p.X.Max = float64(slices.Min(sizes)), float64(slices.Max(sizes)) // even without data, which LogScale needs
		p.Y.Min, p.Y.Max = 0, 0
		p.Legend.Top = false
	}
	for i, l := range layouts {
		paint := []color.Color{ours, second}[i%2]
		err = errors.Join(err,
			r.addLine(latency, l, "p50", l.name+", p50", paint, nil),
			r.addLine(latency, l, "p99", l.name+", p99", paint, []vg.Length{vg.Points(3), vg.Points(3)}),
			r.addLine(memory, l, "memory", l.name, paint, nil))
	}
	for _, p := range []*plot.Plot{latency, memory} {
		p.Y.Min, p.Y.Max = 0, 1.15*p.Y.Max
		p.Legend.Top = true
	}
	return latency, memory, err
}

// addLine adds the medians of a figure over the sizes, if there are any.
func (r *results) addLine(p *plot.Plot, l layout, what, label string, paint color.Color, dashes []vg.Length) error {
	var points plotter.XYs
	for _, n := range r.sizesOf(l) {
		if s, ok := r.of(growthSeries(what, l, n)); ok {
			points = append(points, plotter.XY{X: float64(n), Y: s.Median})
		}
	}
	if len(points) == 0 {
		return nil
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return fmt.Errorf("draw %s: %w", label, err)
	}
	line.Color, line.Dashes, line.Width = paint, dashes, vg.Points(1.5)
	dots.Color, dots.Shape = paint, draw.CircleGlyph{}
	p.Add(line, dots)
	p.Legend.Add(label, line)
	return nil
}

// sizeTicks labels only the measured sizes.
type sizeTicks struct{ sizes []int }

// Ticks implements plot.Ticker.
func (t sizeTicks) Ticks(float64, float64) []plot.Tick {
	var ticks []plot.Tick
	for _, n := range slices.Compact(slices.Sorted(slices.Values(t.sizes))) {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: number(float64(n))})
	}
	return ticks
}

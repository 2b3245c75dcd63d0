package caddymesh

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// point is how much had been done at a moment.
type point struct {
	at                  time.Time
	accepted, delivered int64
}

const (
	historyPoints = 60
	// historyGap ends a history: nobody has looked for so long.
	historyGap = 10 * time.Second
	// rateOver is how many points a rate covers.
	rateOver = 5
)

// remember appends a point to a history.
func remember(history []point, p point) []point {
	if n := len(history); n > 0 {
		last := history[n-1]
		if p.at.Sub(last.at) > historyGap || p.accepted < last.accepted || p.delivered < last.delivered {
			history = nil // a broker was replaced, or nobody looked
		}
	}
	history = append(history, p)
	return history[max(0, len(history)-historyPoints):]
}

func (p point) count(of string) int64 {
	if of == "delivered" {
		return p.delivered
	}
	return p.accepted
}

// rate returns how often per second something has happened lately.
func rate(of string, history []point) string {
	if len(history) < 2 {
		return "–"
	}
	last, first := history[len(history)-1], history[max(0, len(history)-1-rateOver)]
	perSecond := float64(last.count(of)-first.count(of)) / last.at.Sub(first.at).Seconds()
	if perSecond > 0 && perSecond < 10 {
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return strconv.FormatFloat(perSecond, 'f', 0, 64)
}

// curve returns the points of a line that shows the rates of a history, in a box of 120 by
// 30. The newest is at the right.
func curve(of string, history []point) string {
	rates, highest := []float64{}, 1.0
	for i := 1; i < len(history); i++ {
		a, b := history[i-1], history[i]
		r := float64(b.count(of)-a.count(of)) / b.at.Sub(a.at).Seconds()
		rates, highest = append(rates, r), max(highest, r)
	}
	var points strings.Builder
	for i, r := range rates {
		x := 120 - 120*float64(len(rates)-1-i)/(historyPoints-2)
		fmt.Fprintf(&points, "%.1f,%.1f ", x, 28-26*r/highest)
	}
	return strings.TrimSpace(points.String())
}

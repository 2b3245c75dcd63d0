// Package nearest finds the word that a mistyped word probably stands for.
package nearest

import "strings"

// Of returns the candidate that is most like a typed word, ignoring case. The candidate
// may differ in one letter of every three, but in no more than two. Of returns "" if there
// is none.
func Of(typed string, candidates []string) string {
	best, least := "", min(2, len([]rune(typed))/3)+1
	for _, c := range candidates {
		if d := distance(strings.ToLower(typed), strings.ToLower(c), least); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their neighbour in
// order to turn a into b. It returns limit if there are that many or more.
func distance(a, b string, limit int) int {
	x, y := []rune(a), []rune(b)
	if len(x)-len(y) >= limit || len(y)-len(x) >= limit {
		return limit
	}
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(y)], limit)
}

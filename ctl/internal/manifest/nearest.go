package manifest

// Nearest returns the known word that a misspelt one was most likely meant to
// be, or "" where none is near.
func Nearest(word string, known []string) string {
	best, bestAt := "", len(word)/3+2 // a third of the letters and one more may be wrong
	for _, k := range known {
		if d := distance(word, k); d < bestAt {
			best, bestAt = k, d
		}
	}
	return best
}

// distance counts the edits from a to b: an insertion, a deletion, another
// letter, or two neighbours swapped (optimal string alignment).
func distance(a, b string) int {
	const longest = 64 // no known word is longer; it bounds the work
	if len(a) > longest || len(b) > longest {
		return longest
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, last, now := rows[0], rows[1], rows[2]
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		now[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			now[j+1] = min(last[j]+cost, last[j+1]+1, now[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				now[j+1] = min(now[j+1], before[j-1]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}

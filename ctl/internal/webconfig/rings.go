package webconfig

import "strings"

// inRing reports whether the value of v, which the variable name asks for, asks for
// name in turn, by itself or by another's: in Windows each would mean the old
// machine's, here none ever ends. All variables must be known by now.
func (v *variables) inRing(asked *variableOf, name string) bool {
	from, ok := v.index[strings.ToLower(name)]
	if !ok {
		return false
	}
	if v.rings == nil {
		v.rings = findRings(v)
	}
	return v.rings[from] == v.rings[v.index[strings.ToLower(asked.name)]]
}

// findRings numbers the variables so that those have one number that ask for one
// another, which is what Tarjan's algorithm finds, in one pass: files are untrusted.
func findRings(v *variables) []int {
	n := len(v.list)
	order, low, rings := make([]int, n), make([]int, n), make([]int, n)
	var open []int
	seen := 0
	var visit func(int)
	visit = func(i int) {
		seen++
		order[i], low[i] = seen, seen
		open = append(open, i)
		for _, name := range references(v.list[i].attr.value) {
			next, ok := v.index[strings.ToLower(name)]
			switch {
			case !ok:
			case order[next] == 0:
				visit(next)
				low[i] = min(low[i], low[next])
			case rings[next] == 0: // still open
				low[i] = min(low[i], order[next])
			}
		}
		if low[i] != order[i] {
			return
		}
		for {
			last := open[len(open)-1]
			open = open[:len(open)-1]
			rings[last] = order[i]
			if last == i {
				return
			}
		}
	}
	for i := range n {
		if order[i] == 0 {
			visit(i)
		}
	}
	return rings
}

// references are the names that a value asks for. The second % of one may be the
// first of another, so there may be more than expand takes for one.
func references(value string) []string {
	var names []string
	for {
		m := variable.FindStringSubmatchIndex(value)
		if m == nil {
			return names
		}
		names = append(names, value[m[2]:m[3]])
		value = value[m[1]-1:]
	}
}

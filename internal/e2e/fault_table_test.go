package e2e

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// faultRow is what the table says of one case.
type faultRow struct {
	number, what, counted, lost string
	took                        time.Duration
	result                      string
}

// faultRows are those of the cases that have ended.
var faultRows struct {
	sync.Mutex
	list []faultRow
}

// missingFaults has a row for each number that no case has.
func missingFaults(rows []faultRow) []faultRow {
	var missing []faultRow
	for _, n := range faultNumbers {
		number := strconv.Itoa(n)
		if !slices.ContainsFunc(rows, func(r faultRow) bool { return r.number == number }) {
			missing = append(missing, faultRow{number: number, what: "no test has this number", result: "MISSING"})
		}
	}
	return missing
}

// faultColumns are the table's: 119 characters with the two between them.
var faultColumns = []struct {
	head  string
	width int
}{{"no", 2}, {"what is done", 41}, {"counted", 28}, {"lost", 14}, {"time", 6}, {"result", 18}}

// printFaults prints rows as a table, in the order of their numbers; what is too
// long for its column goes on below.
func printFaults(w io.Writer, rows []faultRow) {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b faultRow) int {
		return cmp.Or(cmp.Compare(faultOrder(a.number), faultOrder(b.number)), cmp.Compare(a.what, b.what))
	})
	var heads, rules []string
	for _, c := range faultColumns {
		heads, rules = append(heads, c.head), append(rules, strings.Repeat("-", c.width))
	}
	printCells(w, heads)
	printCells(w, rules)
	for _, r := range rows {
		printCells(w, []string{r.number, r.what, r.counted, r.lost, fmt.Sprintf("%5.1fs", r.took.Seconds()), r.result})
	}
}

// faultOrder puts cases without a number last.
func faultOrder(number string) int {
	n, err := strconv.Atoi(number)
	if err != nil {
		return len(faultNumbers) + 1000
	}
	return n
}

func printCells(w io.Writer, cells []string) {
	var columns [][]string
	height := 1
	for i, c := range faultColumns {
		lines := fold(cells[i], c.width)
		columns = append(columns, lines)
		height = max(height, len(lines))
	}
	for n := range height {
		var line strings.Builder
		for i, c := range faultColumns {
			text := ""
			if n < len(columns[i]) {
				text = columns[i][n]
			}
			fmt.Fprintf(&line, "%-*s  ", c.width, text)
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// fold breaks text into lines of at most width characters, between words where it can.
func fold(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		for len(word) > width {
			lines = append(lines, word[:width])
			word = word[width:]
		}
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

func TestFaultTable_FitsAndNamesWhatIsMissing(t *testing.T) {
	var out strings.Builder
	rows := []faultRow{
		{"30", "the clock goes back", "1 app", "0 apps", time.Second, "ok"},
		{"-", "something without a number", "", "", 0, "FAILED"},
		{"4", strings.Repeat("a long text ", 20), strings.Repeat("1 thing, ", 10), "1 line", time.Hour, "skipped: " + strings.Repeat("x", 50)},
	}
	rows = append(rows, missingFaults(rows)...)
	printFaults(&out, rows)
	last := ""
	for line := range strings.Lines(out.String()) {
		if len(line) > 120 {
			t.Errorf("%d characters: %s", len(line), line)
		}
		last = line
	}
	if !strings.HasPrefix(last, "- ") {
		t.Errorf("the case without a number is not the last: %s", last)
	}
	if got, want := strings.Count(out.String(), "MISSING"), len(faultNumbers)-2; got != want {
		t.Errorf("%d numbers are missing, want %d", got, want)
	}
}

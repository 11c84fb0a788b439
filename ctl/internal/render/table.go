package render

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Cell is a text of a table and its style.
type Cell struct {
	Text  string
	Style Style
}

// Table is aligned columns under a header.
type Table struct {
	header []string
	rows   [][]Cell
}

// NewTable returns a table with these columns.
func NewTable(columns ...string) *Table { return &Table{header: columns} }

// Row adds a row of plain texts or Cells. Under a header an empty text is shown as
// a dash, so that every column has a word in every row.
func (t *Table) Row(cells ...any) {
	row := make([]Cell, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case Cell:
			row[i] = c
		case string:
			row[i] = Cell{Text: c}
		}
		if row[i].Text = Clean(row[i].Text); row[i].Text == "" && t.header[i] != "" {
			row[i].Text = "-"
		}
	}
	t.rows = append(t.rows, row)
}

// gap is what stands between two columns.
const gap = "   "

// Write writes the table, its header in bold where colours are wanted.
func (t *Table) Write(w io.Writer, p Painter) error {
	width := make([]int, len(t.header))
	for i, h := range t.header {
		width[i] = utf8.RuneCountInString(h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c.Text))
		}
	}
	var b strings.Builder
	head := make([]Cell, len(t.header))
	for i, h := range t.header {
		head[i] = Cell{h, Bold}
	}
	if strings.Join(t.header, "") != "" {
		writeRow(&b, head, width, p)
	}
	for _, row := range t.rows {
		writeRow(&b, row, width, p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRow(b *strings.Builder, row []Cell, width []int, p Painter) {
	for len(row) > 0 && row[len(row)-1].Text == "" { // nothing trails the last word
		row = row[:len(row)-1]
	}
	for i, c := range row {
		b.WriteString(p.Paint(c.Style, c.Text))
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.Text)))
			b.WriteString(gap)
		}
	}
	b.WriteByte('\n')
}

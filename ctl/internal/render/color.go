package render

// Style is how a text is shown on a terminal.
type Style string

// The styles, as parameters of SGR (ECMA-48, 8.3.117).
const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// Wheel are the colours that tell apps apart, none of which means good or bad.
var Wheel = []Style{"36", "35", "34", "96", "95", "94", "33", "92"}

// Painter shows texts in styles, where colours are wanted.
type Painter bool

// Paint returns s in a style.
func (p Painter) Paint(st Style, s string) string {
	if !bool(p) || st == Plain || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}

package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

// ownName stands before what is not from an app.
const ownName = "roost"

// console prints the lines of many sources, each with its source before it.
type console struct {
	mu     sync.Mutex
	w      io.Writer
	paint  render.Painter
	width  int
	styles map[string]render.Style
	open   map[string][]byte // a line that has no end yet, by its source
}

func (p *program) newConsole(specs []*roostv1.AppSpec) *console {
	c := &console{w: p.Stdout, paint: p.paint, width: len(ownName), styles: map[string]render.Style{ownName: render.Dim}, open: map[string][]byte{}}
	for _, s := range specs {
		c.width = max(c.width, len(s.GetName()))
		c.style(s.GetName())
	}
	return c
}

// style is the colour of a source, the same for all of its lines.
func (c *console) style(name string) render.Style {
	st, ok := c.styles[name]
	if !ok {
		st = render.Wheel[len(c.styles)%len(render.Wheel)]
		c.styles[name] = st
	}
	return st
}

// say prints a line of our own.
func (c *console) say(st render.Style, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.print(ownName, c.paint.Paint(st, text))
}

// write prints what an app wrote, by whole lines. source tells apart whose lines
// are mixed: an instance's stream.
func (c *console) write(app, source string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := append(c.open[source], data...)
	for {
		line, after, ok := strings.Cut(string(rest), "\n")
		if !ok {
			break
		}
		c.print(app, c.closed(line))
		rest = []byte(after)
	}
	const longest = 16 << 10
	if len(rest) > longest {
		c.print(app, c.closed(string(rest)))
		rest = nil
	}
	c.open[source] = rest
	if len(rest) == 0 {
		delete(c.open, source)
	}
}

// closed is a line whose colours end with it.
func (c *console) closed(line string) string {
	line = strings.TrimRight(line, "\r")
	if bool(c.paint) && strings.Contains(line, "\x1b[") {
		line += "\x1b[0m"
	}
	return line
}

func (c *console) print(name, text string) {
	prefix := c.paint.Paint(c.style(name), fmt.Sprintf("%-*s |", c.width, name))
	_, _ = fmt.Fprintf(c.w, "%s %s\n", prefix, text)
}

// flush prints the lines that never ended.
func (c *console) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for source, rest := range c.open {
		app, _, _ := strings.Cut(source, "/")
		c.print(app, c.closed(string(rest)))
	}
	clear(c.open)
}

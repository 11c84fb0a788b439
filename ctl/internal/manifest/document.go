package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxText bounds a manifest in bytes: what is larger is not one.
const maxText = 4 << 20

// parseDocument returns the root of the text's one document. A syntax error ends
// the reading: what follows it would be guessed.
func (d *decoder) parseDocument() *yaml.Node {
	if len(d.src.Text) > maxText {
		d.faultAt(0, 0, "", "it has %d bytes, and a manifest at most %d", len(d.src.Text), maxText)
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(d.src.Text))
	if err != nil {
		d.faultAt(0, 0, "", "%v", err)
		return nil
	}
	var doc, more yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		d.faultAt(0, 0, "", "it is empty: want apps: with an app under it")
		return nil
	case err != nil:
		d.syntaxFault(err)
		return nil
	}
	switch err := loader.Load(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntaxFault(err)
	default:
		d.faultAt(more.Line, more.Column, "", "a second document begins: give each a file of its own")
	}
	if len(doc.Content) != 1 {
		return nil
	}
	return doc.Content[0]
}

// syntaxFault reports what the YAML parser says, without the library's frame around it.
func (d *decoder) syntaxFault(err error) {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		d.faultAt(0, 0, "", "%v", err)
		return
	}
	msg := e.Message
	if e.ContextMsg != "" {
		msg = fmt.Sprintf("%s %s", e.ContextMsg, msg)
		if e.ContextMark.Line > 0 && e.ContextMark.Line != e.Mark.Line {
			msg += fmt.Sprintf(" (it began in line %d)", e.ContextMark.Line)
		}
	}
	line, column := e.Mark.Line, e.Mark.Column
	if line == 0 && e.ContextMark.Line > 0 {
		line, column = e.ContextMark.Line, e.ContextMark.Column
	}
	if line == 0 {
		line, column = d.firstControl()
	}
	d.faultAt(line, max(column, 1), "", "not YAML: %s", msg)
}

// firstControl finds the byte or character that YAML forbids, whose place the
// parser does not tell.
func (d *decoder) firstControl() (line, column int) {
	for i, l := range d.lines {
		for at, column := 0, 1; at < len(l); column++ {
			r, n := utf8.DecodeRuneInString(l[at:])
			if r == utf8.RuneError && n == 1 || r < ' ' && r != '\t' && r != '\r' || r == 0x7f {
				return i + 1, column
			}
			at += n
		}
	}
	return 0, 0
}

func (d *decoder) faultAt(line, column int, path, format string, args ...any) {
	d.faults = append(d.faults, d.fault(line, column, path, fmt.Sprintf(format, args...)))
}

func (d *decoder) fault(line, column int, path, message string) Fault {
	f := Fault{File: d.src.Name, Line: line, Column: column, Path: path, Message: message}
	if line >= 1 && line <= len(d.lines) {
		f.text = d.lines[line-1]
	}
	return f
}

// lineBreak is what the YAML parser counts as the end of a line (YAML 1.1, 5.4).
var lineBreak = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

func splitLines(text []byte) []string {
	if len(text) > maxText {
		return nil // it is refused for that alone
	}
	return lineBreak.Split(strings.TrimPrefix(string(text), "\ufeff"), -1)
}

package webconfig

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep elements may lie in one another.
const maxDepth = 64

// document is a file's text.
type document struct {
	name  string
	text  string
	lines []int // offsets at which lines begin
	secrets
}

func newDocument(name, text string) *document {
	d := &document{name: name, text: text, lines: []int{0}}
	for i := range len(text) {
		if text[i] == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	d.hidePasswords(text)
	return d
}

// position returns the line and column of an offset, in characters.
func (d *document) position(at int) (line, column int) {
	at = min(max(at, 0), len(d.text))
	i := sort.SearchInts(d.lines, at+1) - 1
	return i + 1, utf8.RuneCountInString(d.text[d.lines[i]:at]) + 1
}

// around is what is shown of the line around an offset: of a file that is one long
// line not all of it for each fault. before is how many characters of the line are
// left out in front.
func (d *document) around(at int) (text string, before int) {
	const reach = 512 // bytes to both sides: more than an excerpt shows
	at = min(max(at, 0), len(d.text))
	i := sort.SearchInts(d.lines, at+1) - 1
	end := len(d.text)
	if i+1 < len(d.lines) {
		end = d.lines[i+1] - 1
	}
	begin, from, to := d.lines[i], max(d.lines[i], at-reach), min(end, at+reach)
	for from > begin && !utf8.RuneStart(d.text[from]) {
		from--
	}
	for to < end && !utf8.RuneStart(d.text[to]) {
		to++
	}
	return strings.TrimSuffix(d.shown(d.text, from, max(from, to)), "\r"), utf8.RuneCountInString(d.text[begin:from])
}

// place is an offset in a document.
type place struct {
	doc *document
	at  int
}

// element is one of the tree. Names are without namespaces: configuration has none.
type element struct {
	name     string
	place    place
	attrs    []attribute
	children []*element
	parent   *element
}

type attribute struct {
	name   string
	prefix string // or the namespace it stands for
	value  string
	place  place
}

// attr returns an attribute, nil where it is not given.
func (e *element) attr(name string) *attribute {
	for i := range e.attrs {
		if e.attrs[i].name == name && e.attrs[i].prefix == "" {
			return &e.attrs[i]
		}
	}
	return nil
}

// value returns an attribute's value, "" where it is not given.
func (e *element) value(name string) string {
	if a := e.attr(name); a != nil {
		return a.value
	}
	return ""
}

// child returns the first child of a name, or nil.
func (e *element) child(name string) *element {
	for _, c := range e.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// walk calls f on e and all below it, until it says not to go deeper.
func (e *element) walk(f func(*element) bool) {
	if !f(e) {
		return
	}
	for _, c := range e.children {
		c.walk(f)
	}
}

// syntaxError is a fault of the file as XML.
type syntaxError struct {
	at  int
	err error
}

func (e *syntaxError) Error() string { return e.err.Error() }

// parse returns the root of a document.
func parse(doc *document) (*element, error) {
	dec := xml.NewDecoder(strings.NewReader(doc.text))
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // it is UTF-8 by now
	p := parser{doc: doc}
	for {
		at := int(dec.InputOffset())
		token, err := dec.Token()
		end := int(dec.InputOffset())
		switch {
		case errors.Is(err, io.EOF) && p.root == nil:
			return nil, &syntaxError{at, errors.New("it is empty: want <configuration>")}
		case errors.Is(err, io.EOF):
			return p.root, nil
		case err != nil:
			doc.hideMalformed(doc.text, at)
			return nil, p.syntax(at, end, err)
		}
		if err := p.take(token, at, end); err != nil {
			return nil, err
		}
	}
}

type parser struct {
	doc   *document
	root  *element
	open  *element
	depth int
}

// syntax places what the decoder says: at the tag that does not fit, else where
// it stopped.
func (p *parser) syntax(at, end int, err error) error {
	message := err.Error()
	if e, ok := errors.AsType[*xml.SyntaxError](err); ok {
		message = e.Msg
	}
	if !strings.Contains(message, " closed by ") && !strings.HasPrefix(message, "unexpected end element") {
		at = end
	}
	if strings.HasPrefix(message, "invalid character entity") && p.doc.hides(end-1) { // its name is a part of the secret
		message = "invalid character entity: an & that is meant is written &amp;"
	}
	if message == "unexpected EOF" && p.open != nil {
		line, _ := p.doc.position(p.open.place.at)
		message = fmt.Sprintf("it ends before <%s> of line %d does", p.open.name, line)
	}
	return &syntaxError{at, fmt.Errorf("not XML: %s", message)}
}

func (p *parser) take(token xml.Token, at, end int) error {
	switch t := token.(type) {
	case xml.StartElement:
		return p.start(t, at, end)
	case xml.EndElement:
		p.open = p.open.parent
		p.depth--
	case xml.CharData:
		if p.open == nil && strings.TrimSpace(string(t)) != "" {
			return &syntaxError{at, errors.New("not XML: text outside the root element")}
		}
	case xml.Directive: // nothing in a configuration needs one, and what it declares could be endless
		return &syntaxError{at, errors.New("it has a <!" + firstWord(string(t)) + ">, which no configuration may have: take it out")}
	}
	return nil
}

func firstWord(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

func (p *parser) start(t xml.StartElement, at, end int) error {
	e := &element{name: t.Name.Local, place: place{p.doc, at}, parent: p.open}
	switch {
	case p.open != nil:
		p.open.children = append(p.open.children, e)
	case p.root != nil:
		return &syntaxError{at, errors.New("not XML: a second root element")}
	default:
		p.root = e
	}
	if p.depth++; p.depth > maxDepth {
		return &syntaxError{at, fmt.Errorf("elements lie inside one another more than %d deep", maxDepth)}
	}
	p.open = e
	places := attributePlaces(p.doc.text[at:min(end, len(p.doc.text))])
	seen := make(map[xml.Name]bool, len(t.Attr))
	for i, a := range t.Attr {
		where := at
		if i < len(places) {
			from, to := at+places[i].value, at+places[i].to
			where += places[i].from
			a.Value = normalized(a.Value, p.doc.text[from:to])
			if e.isSecret(a.Name.Local) {
				p.doc.hide(from, to)
			}
		}
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		if seen[a.Name] {
			return &syntaxError{where, fmt.Errorf("not XML: <%s> has %s twice", e.name, a.Name.Local)}
		}
		seen[a.Name] = true
		e.attrs = append(e.attrs, attribute{a.Name.Local, a.Name.Space, a.Value, place{p.doc, where}})
	}
	return nil
}

// normalized is an attribute's value as XML has it: a line's end or a tab that is
// written into it is a blank, one that is meant is &#10;. The decoder leaves both.
func normalized(value, raw string) string {
	if strings.Contains(raw, "&#") { // nobody knows now which were written how
		return value
	}
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(value)
}

// attributePlace is where an attribute begins in its tag, and its value.
type attributePlace struct{ from, value, to int }

// attributePlaces finds the attributes of a start tag that is known to be
// well-formed.
func attributePlaces(tag string) []attributePlace {
	var places []attributePlace
	space := func(i int) bool { return strings.IndexByte(" \t\r\n", tag[i]) >= 0 }
	i := 1
	for i < len(tag) && !space(i) && tag[i] != '>' && tag[i] != '/' {
		i++
	}
	for {
		for i < len(tag) && space(i) {
			i++
		}
		if i >= len(tag) || tag[i] == '>' || tag[i] == '/' {
			return places
		}
		quote := strings.IndexAny(tag[i:], `"'`)
		if quote < 0 {
			return places
		}
		value := i + quote + 1
		end := strings.IndexByte(tag[value:], tag[value-1])
		if end < 0 {
			return places
		}
		places = append(places, attributePlace{i, value, value + end})
		i = value + end + 1
	}
}

package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

func writeYAML(n *yaml.Node) ([]byte, error) {
	valid(n)
	var b bytes.Buffer
	d, err := yaml.NewDumper(&b, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, err
	}
	if err := d.Dump(n); err != nil {
		return nil, err
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// valid makes every text UTF-8, as encoding/json does on its own.
func valid(n *yaml.Node) {
	n.Value = strings.ToValidUTF8(n.Value, "\ufffd")
	for _, c := range n.Content {
		valid(c)
	}
}

// appendJSON writes a tree that the encoder made. nl is the line break with the
// indentation it stands at, or "" for one line.
func appendJSON(b []byte, n *yaml.Node, nl string) []byte {
	inner := nl
	if nl != "" {
		inner += "  "
	}
	switch n.Kind {
	case yaml.MappingNode:
		return appendBlock(b, '{', '}', len(n.Content)/2, nl, func(b []byte, i int) []byte {
			b = append(appendString(b, n.Content[2*i].Value), ':')
			if nl != "" {
				b = append(b, ' ')
			}
			return appendJSON(b, n.Content[2*i+1], inner)
		})
	case yaml.SequenceNode:
		return appendBlock(b, '[', ']', len(n.Content), nl, func(b []byte, i int) []byte {
			return appendJSON(b, n.Content[i], inner)
		})
	default:
		if n.Tag == "!!str" {
			return appendString(b, n.Value)
		}
		return append(b, n.Value...)
	}
}

func appendBlock(b []byte, open, shut byte, n int, nl string, item func([]byte, int) []byte) []byte {
	b = append(b, open)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		if nl != "" {
			b = append(b, nl+"  "...)
		}
		b = item(b, i)
	}
	if n > 0 {
		b = append(b, nl...)
	}
	return append(b, shut)
}

// appendString writes a JSON string that YAML and terminals take as it is too:
// what encoding/json leaves alone and they do not is escaped.
func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return append(b, `""`...) // a string always encodes
	}
	for _, r := range strings.TrimSuffix(buf.String(), "\n") {
		if r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			b = fmt.Appendf(b, `\u%04x`, r)
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}

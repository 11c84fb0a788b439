package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/roostd/roost/ctl/internal/manifest"
)

// Format is how a command prints its result.
type Format string

// The formats.
const (
	FormatTable Format = "table" // for people
	FormatWide  Format = "wide"  // with more columns
	FormatJSON  Format = "json"  // the message of the API
	FormatYAML  Format = "yaml"
	FormatName  Format = "name" // one name a line
)

// Formats are all of them.
var Formats = []Format{FormatTable, FormatWide, FormatJSON, FormatYAML, FormatName}

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	if f := Format(s); slices.Contains(Formats, f) {
		return f, nil
	}
	names := make([]string, len(Formats))
	for i, f := range Formats {
		names[i] = string(f)
	}
	return "", fmt.Errorf("-o %q is not one of %s", s, strings.Join(names, ", "))
}

// Message writes a message as JSON or YAML and reports whether the format is one
// of the two.
func Message(w io.Writer, f Format, msg proto.Message) (bool, error) {
	switch f {
	case FormatJSON:
		_, err := w.Write(manifest.JSON(msg))
		return true, err
	case FormatYAML:
		text, err := manifest.YAML(msg)
		if err == nil {
			_, err = w.Write(text)
		}
		return true, err
	default:
		return false, nil
	}
}

// Item writes one message of a stream, as a line of JSON or a document of YAML,
// and reports whether the format is one of the two.
func Item(w io.Writer, f Format, msg proto.Message) (bool, error) {
	if f == FormatJSON {
		_, err := w.Write(manifest.JSONLine(msg))
		return true, err
	}
	if f == FormatYAML {
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return true, err
		}
	}
	return Message(w, f, msg)
}

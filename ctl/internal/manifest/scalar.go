package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"go.yaml.in/yaml/v4"

	"github.com/roostd/roost/internal/units"
)

const (
	durationName  = "google.protobuf.Duration"
	timestampName = "google.protobuf.Timestamp"
)

func isDuration(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && fd.Message().FullName() == durationName
}

func isWellKnown(desc protoreflect.MessageDescriptor) bool {
	return desc.FullName() == durationName || desc.FullName() == timestampName
}

// text returns a scalar as it is written.
func (d *decoder) text(path string, at *yaml.Node) (string, bool) {
	n := resolve(at)
	switch {
	case n.Kind != yaml.ScalarNode:
		d.wrongType(at, path, "text")
		return "", false
	case !utf8.ValidString(n.Value):
		d.faultAt(at.Line, at.Column, path, "it is not valid UTF-8")
		return "", false
	}
	return n.Value, d.spend(at, len(n.Value))
}

// scalar reads one value of a field, a list or a map.
func (d *decoder) scalar(path string, at *yaml.Node, fd protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	var none protoreflect.Value
	if fd.Kind() != protoreflect.StringKind && resolve(at).Kind != yaml.ScalarNode {
		d.wrongType(at, path, kindName(fd))
		return none, false
	}
	text, ok := d.text(path, at)
	if !ok {
		return none, false
	}
	bare := !quoted(at)
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text), true
	case protoreflect.BoolKind:
		if b, ok := booleans[text]; ok && bare {
			return protoreflect.ValueOfBool(b), true
		}
	case protoreflect.EnumKind:
		return d.enum(path, at, text, fd.Enum())
	case protoreflect.Int32Kind:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && bare {
			if n < math.MinInt32 || n > math.MaxInt32 {
				d.faultAt(at.Line, at.Column, path, "%s is out of range: %d to %d", text, math.MinInt32, math.MaxInt32)
				return none, false
			}
			return protoreflect.ValueOfInt32(int32(n)), true
		} else if bare && digits(text) {
			d.faultAt(at.Line, at.Column, path, "%s is out of range: %d to %d", text, math.MinInt32, math.MaxInt32)
			return none, false
		}
	case protoreflect.Int64Kind:
		n, err := d.size(text)
		if err != nil {
			d.faultAt(at.Line, at.Column, path, "%s: %q: %v", path, clip(text), err)
			return none, false
		}
		return protoreflect.ValueOfInt64(n), true
	case protoreflect.DoubleKind:
		f, err := strconv.ParseFloat(text, 64)
		if tag := resolve(at).ShortTag(); err == nil && bare && !math.IsInf(f, 0) && !math.IsNaN(f) && (tag == "!!float" || tag == "!!int") {
			return protoreflect.ValueOfFloat64(f), true
		}
	default: // no other kind is in a spec
	}
	d.wrongType(at, path, kindName(fd))
	return none, false
}

// size reads a 64-bit field. A negative one is read too, so that the daemon's
// word on its range is the only one.
func (d *decoder) size(text string) (int64, error) {
	if strings.HasPrefix(text, "-") {
		return strconv.ParseInt(text, 10, 64)
	}
	return units.ParseSize(text)
}

func (d *decoder) enum(path string, at *yaml.Node, text string, desc protoreflect.EnumDescriptor) (protoreflect.Value, bool) {
	if text == "" && quoted(at) { // as JSON has what is not given
		return protoreflect.ValueOfEnum(0), true
	}
	choices := enumChoices(desc)
	for i := range desc.Values().Len() {
		v := desc.Values().Get(i)
		if v.Number() != 0 && enumText(v) == text {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	meant := ""
	if near := Nearest(strings.ToLower(text), choices); near != "" {
		meant = fmt.Sprintf("did you mean %s? ", near)
	}
	d.faultAt(at.Line, at.Column, path, "%q is not a choice: %sone of %s", clip(text), meant, list(choices))
	return protoreflect.Value{}, false
}

func enumChoices(desc protoreflect.EnumDescriptor) []string {
	var choices []string
	for i := range desc.Values().Len() {
		if v := desc.Values().Get(i); v.Number() != 0 {
			choices = append(choices, enumText(v))
		}
	}
	return choices
}

// enumText is a value's name in lower case with '-' and without the enum's prefix,
// which the proto's lint demands; "" for the unspecified one.
func enumText(v protoreflect.EnumValueDescriptor) string {
	if v.Number() == 0 {
		return ""
	}
	name := strings.TrimPrefix(string(v.Name()), enumPrefix(v.Parent().(protoreflect.EnumDescriptor)))
	return strings.ToLower(strings.ReplaceAll(name, "_", "-"))
}

func enumPrefix(desc protoreflect.EnumDescriptor) string {
	if zero := desc.Values().ByNumber(0); zero != nil {
		if prefix, ok := strings.CutSuffix(string(zero.Name()), "UNSPECIFIED"); ok {
			return prefix
		}
	}
	return ""
}

func (d *decoder) duration(path string, at *yaml.Node) (protoreflect.Message, bool) {
	if resolve(at).Kind != yaml.ScalarNode {
		d.wrongType(at, path, "a duration such as 90s, 5m, 29h or 0")
		return nil, false
	}
	text, ok := d.text(path, at)
	if !ok {
		return nil, false
	}
	v, err := parseDuration(text)
	if err != nil {
		d.faultAt(at.Line, at.Column, path, "%s: %q: %v", path, clip(text), err)
		return nil, false
	}
	return durationpb.New(v).ProtoReflect(), true
}

var booleans = map[string]bool{"true": true, "True": true, "TRUE": true, "false": false, "False": false, "FALSE": false}

func quoted(at *yaml.Node) bool {
	const styles = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	return resolve(at).Style&styles != 0
}

func kindName(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.Int32Kind:
		return "a whole number"
	case protoreflect.Int64Kind:
		return "a size such as 512MiB"
	case protoreflect.DoubleKind:
		return "a number"
	case protoreflect.EnumKind:
		return "one of " + list(enumChoices(fd.Enum()))
	default:
		return "text"
	}
}

// wrongType says what was wanted and what is there.
func (d *decoder) wrongType(at *yaml.Node, path, want string) {
	n := resolve(at)
	var found string
	switch {
	case n.Kind == yaml.MappingNode:
		found = "a mapping"
	case n.Kind == yaml.SequenceNode:
		found = "a list"
	case isNull(n):
		found = "nothing"
	case quoted(n):
		found = fmt.Sprintf("the text %q", clip(n.Value))
	default:
		found = clip(n.Value)
	}
	prefix := ""
	if path != "" {
		prefix = path + ": "
	}
	d.faultAt(at.Line, at.Column, path, "%swant %s, found %s", prefix, want, found)
}

func digits(s string) bool {
	s = strings.TrimLeft(s, "+-")
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// clip shortens what a message quotes.
func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return printable(s)
}

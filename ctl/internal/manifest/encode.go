package manifest

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"go.yaml.in/yaml/v4"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/units"
)

// encoder turns messages into nodes. For programs it writes every scalar and
// list, zero or not, and durations in seconds; for people it leaves out of a spec
// what is not given and writes durations and sizes in their largest unit.
type encoder struct {
	programs bool
	manifest bool // an app stands under its name: leave out what is no key there
}

func (e encoder) message(msg protoreflect.Message, inSpec bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	desc := msg.Descriptor()
	inSpec = inSpec || desc == specDescriptor
	for i := range desc.Fields().Len() {
		fd := desc.Fields().Get(i)
		if !e.writes(msg, fd, inSpec) {
			continue
		}
		n.Content = append(n.Content, plain("!!str", string(fd.Name())), e.field(msg.Get(fd), fd, inSpec))
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

func (e encoder) writes(msg protoreflect.Message, fd protoreflect.FieldDescriptor, inSpec bool) bool {
	switch {
	case e.manifest && isName(fd):
		return false
	case msg.Has(fd):
		return true
	case fd.HasPresence(): // messages, oneofs and optional scalars
		return false
	}
	return e.programs || !inSpec
}

func (e encoder) field(v protoreflect.Value, fd protoreflect.FieldDescriptor, inSpec bool) *yaml.Node {
	switch {
	case fd.IsMap():
		return e.stringMap(v.Map(), fd, inSpec)
	case fd.IsList():
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.List().Len() {
			n.Content = append(n.Content, e.value(v.List().Get(i), fd, inSpec))
		}
		if fd.Message() == nil || len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		return n
	}
	return e.value(v, fd, inSpec)
}

func (e encoder) stringMap(m protoreflect.Map, fd protoreflect.FieldDescriptor, inSpec bool) *yaml.Node {
	values := map[string]protoreflect.Value{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		values[k.String()] = v
		return true
	})
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		n.Content = append(n.Content, plain("!!str", k), e.value(values[k], fd.MapValue(), inSpec))
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

func (e encoder) value(v protoreflect.Value, fd protoreflect.FieldDescriptor, inSpec bool) *yaml.Node {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return e.nested(v.Message(), inSpec)
	case protoreflect.EnumKind:
		return plain("!!str", enumName(fd.Enum(), v.Enum()))
	case protoreflect.BoolKind:
		return plain("!!bool", strconv.FormatBool(v.Bool()))
	case protoreflect.Int64Kind:
		if inSpec && !e.programs {
			if s := units.FormatSize(v.Int()); !digits(s) {
				return plain("!!str", s)
			}
		}
		return plain("!!int", strconv.FormatInt(v.Int(), 10))
	case protoreflect.Int32Kind:
		return plain("!!int", strconv.FormatInt(v.Int(), 10))
	case protoreflect.Uint64Kind, protoreflect.Uint32Kind:
		return plain("!!int", strconv.FormatUint(v.Uint(), 10))
	case protoreflect.DoubleKind:
		return number(v.Float())
	case protoreflect.BytesKind:
		return plain("!!str", string(v.Bytes())) // the writers replace what is not UTF-8
	default:
		return plain("!!str", v.String())
	}
}

func (e encoder) nested(msg protoreflect.Message, inSpec bool) *yaml.Node {
	switch m := msg.Interface().(type) {
	case *durationpb.Duration:
		if e.programs {
			return plain("!!str", formatSeconds(m.AsDuration()))
		}
		return plain("!!str", formatDuration(m.AsDuration()))
	case *timestamppb.Timestamp:
		return plain("!!str", m.AsTime().UTC().Format(time.RFC3339Nano))
	}
	return e.message(msg, inSpec)
}

func enumName(desc protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	if v := desc.Values().ByNumber(n); v != nil {
		return enumText(v)
	}
	return strconv.Itoa(int(n)) // of a newer daemon
}

// EnumText is an enum's value as a manifest has it, "" for the unspecified one.
func EnumText(v protoreflect.Enum) string { return enumName(v.Descriptor(), v.Number()) }

func number(f float64) *yaml.Node {
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if math.IsInf(f, 0) || math.IsNaN(f) { // JSON has no such number
		return plain("!!str", text)
	}
	return plain("!!float", text)
}

func plain(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// YAML writes a message of the API.
func YAML(msg proto.Message) ([]byte, error) {
	return writeYAML(encoder{}.message(msg.ProtoReflect(), false))
}

// JSON writes a message of the API, indented, with every scalar and list.
func JSON(msg proto.Message) []byte {
	b := appendJSON(nil, encoder{programs: true}.message(msg.ProtoReflect(), false), "\n")
	return append(b, '\n')
}

// JSONLine writes a message as JSON does, in one line.
func JSONLine(msg proto.Message) []byte {
	b := appendJSON(nil, encoder{programs: true}.message(msg.ProtoReflect(), false), "")
	return append(b, '\n')
}

// Spec writes a spec as it stands under its name in a manifest.
func Spec(spec *roostv1.AppSpec) ([]byte, error) {
	return writeYAML(encoder{manifest: true}.message(spec.ProtoReflect(), true))
}

// Write writes a manifest of specs, in their order.
func Write(name string, specs []*roostv1.AppSpec) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	if name != "" {
		root.Content = append(root.Content, plain("!!str", "name"), plain("!!str", name))
	}
	apps := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range specs {
		apps.Content = append(apps.Content, plain("!!str", s.GetName()), encoder{manifest: true}.message(s.ProtoReflect(), true))
	}
	if len(specs) == 0 {
		apps.Style = yaml.FlowStyle
	}
	root.Content = append(root.Content, plain("!!str", "apps"), apps)
	return writeYAML(root)
}

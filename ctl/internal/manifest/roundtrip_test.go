package manifest

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// drawMessage fills a message by its descriptor, so that a field that is added
// to the proto is tested at once.
func drawMessage(t *rapid.T, msg protoreflect.Message) {
	oneofs := map[protoreflect.Name]bool{}
	for i := range msg.Descriptor().Fields().Len() {
		fd := msg.Descriptor().Fields().Get(i)
		if isName(fd) || !rapid.Bool().Draw(t, "has "+string(fd.Name())) {
			continue
		}
		if one := fd.ContainingOneof(); one != nil {
			if oneofs[one.Name()] {
				continue
			}
			oneofs[one.Name()] = true
		}
		drawField(t, msg, fd)
	}
}

func drawField(t *rapid.T, msg protoreflect.Message, fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsMap():
		for k, v := range rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, string(fd.Name())) {
			msg.Mutable(fd).Map().Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(v))
		}
	case fd.IsList():
		for range rapid.IntRange(0, 3).Draw(t, "len") {
			if fd.Message() != nil {
				drawMessage(t, msg.Mutable(fd).List().AppendMutable().Message())
			} else {
				msg.Mutable(fd).List().Append(drawScalar(t, fd))
			}
		}
	case isDuration(fd):
		d := rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration")
		if rapid.Bool().Draw(t, "round") {
			d -= d % 1e9
		}
		msg.Set(fd, protoreflect.ValueOfMessage((&durationpb.Duration{Seconds: d / 1e9, Nanos: int32(d % 1e9)}).ProtoReflect()))
	case fd.Message() != nil:
		drawMessage(t, msg.Mutable(fd).Message())
	default:
		msg.Set(fd, drawScalar(t, fd))
	}
}

func drawScalar(t *rapid.T, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		odd := rapid.SampledFrom([]string{"", "~", "null", "true", "022", "<<", "*a", "&a", "- x", "a: b", "a #b", "\x00", "\u0085", "\u2028", "a\nb\n", "\n", " x ", "!!int 3", "2001-01-01", "\ufeff", "=", "'", `"`, "\t"})
		return protoreflect.ValueOfString(rapid.OneOf(odd, rapid.String()).Draw(t, string(fd.Name())))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64") << rapid.SampledFrom([]int{0, 10, 20}).Draw(t, "shift"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rapid.Float64().Draw(t, "double"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.IntRange(0, fd.Enum().Values().Len()-1).Draw(t, "enum")))
	default:
		t.Fatalf("no generator for %v", fd.FullName())
		return protoreflect.Value{}
	}
}

func drawSpec(t *rapid.T) *roostv1.AppSpec {
	spec := &roostv1.AppSpec{}
	drawMessage(t, spec.ProtoReflect())
	spec.Name = "web"
	spec.Dir = "/srv"
	for i := range spec.GetEnvFiles() {
		spec.EnvFiles[i] = "/" + spec.EnvFiles[i]
	}
	return spec
}

func TestWrite_ReadsBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		text, err := Write("shop", []*roostv1.AppSpec{spec})
		if err != nil {
			t.Fatal(err)
		}
		m, faults := Read(Source{Name: "x", Text: text})
		if len(faults) > 0 {
			t.Fatalf("%v\n%s", faults, text)
		}
		if m.Name != "shop" || len(m.Specs) != 1 || !proto.Equal(m.Specs[0], spec) {
			t.Fatalf("got  %v\nwant %v\n%s", m.Specs, spec, text)
		}
	})
}

// JSON of a spec is a manifest too, zeros included.
func TestJSON_IsJSONAndReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		text := JSONLine(spec)
		if !json.Valid(text) || bytes.Count(text, []byte("\n")) != 1 {
			t.Fatalf("not one line of JSON: %s", text)
		}
		var indented bytes.Buffer
		if err := json.Compact(&indented, JSON(spec)); err != nil || indented.String()+"\n" != string(text) {
			t.Fatalf("JSON and JSONLine differ: %v", err)
		}
		m, faults := Read(Source{Name: "x", Text: []byte(`{"apps": {"web": ` + string(text) + `}}`)})
		if len(faults) > 0 || !proto.Equal(m.Specs[0], spec) {
			t.Fatalf("faults %v\ngot  %v\nwant %v\n%s", faults, m.Specs, spec, text)
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"", "apps: {web: {command: a b}}", "apps: &a {x: {<<: *a}}", "a: &a [*a]\napps: *a", "defaults: {env: {A: 1}}\napps: {w: }",
		"apps:\n  web:\n    ready: {tcp: , http: {}}\n    limits: {memory: 1MiB, cpu: 0.5}\n", "? [a]\n: b", "apps: {w: {routes: [~, {}, [], {path: [1]}]}}",
		"%YAML 1.2\n---\napps: {}", "apps: {w: {command: !!binary aGk=}}", "\xff\xfea\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, faults := Read(Source{Name: "f", Base: "/b", Text: text})
		for _, fault := range faults {
			// UTF-16 is read too; its lines are not ours to show.
			if utf8.Valid(text) && fault.Line > len(splitLines(text))+1 {
				t.Errorf("fault %v is beyond the last line", fault)
			}
			_ = fault.Excerpt()
		}
		if len(faults) > 0 {
			return
		}
		// What is understood is written so that it is understood the same.
		written, err := Write(m.Name, m.Specs)
		if err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		again, faults := Read(Source{Name: "again", Text: written})
		if len(faults) > 0 {
			t.Fatalf("%v\n%s", faults, written)
		}
		for i := range m.Specs {
			if !proto.Equal(m.Specs[i], again.Specs[i]) {
				t.Fatalf("got  %v\nwant %v\n%s", again.Specs[i], m.Specs[i], written)
			}
		}
	})
}

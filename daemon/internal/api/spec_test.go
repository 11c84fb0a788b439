package api

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Whatever a spec says, and does not say, comes back: also in fields that are
// added later.
func TestSpec_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &roostv1.AppSpec{}
		fill(t, want.ProtoReflect())
		want.RedactedEnv = nil
		spec, faults := specFrom(want)
		if len(faults) > 0 {
			t.Fatalf("%v: %v", want, faults)
		}
		got := specTo(spec, true)
		prune(want.ProtoReflect())
		if !proto.Equal(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	})
}

// fill gives a message any fields.
func fill(t *rapid.T, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !rapid.Bool().Draw(t, string(f.FullName())) {
			continue
		}
		switch {
		case f.IsMap():
			v := m.Mutable(f).Map()
			for _, k := range []string{"A", "B"} {
				v.Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(rapid.StringN(0, 3, -1).Draw(t, "value")))
			}
		case f.IsList():
			v := m.Mutable(f).List()
			for range rapid.IntRange(1, 2).Draw(t, "items") {
				v.Append(value(t, f, v.NewElement()))
			}
		default:
			m.Set(f, value(t, f, m.NewField(f)))
		}
	}
}

// value draws a value of a field; empty is a new one of its type.
func value(t *rapid.T, f protoreflect.FieldDescriptor, empty protoreflect.Value) protoreflect.Value {
	name := string(f.FullName())
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.StringN(0, 3, -1).Draw(t, name))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, name))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, name))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, name))
	case protoreflect.DoubleKind: // cores, in thousandths
		return protoreflect.ValueOfFloat64(float64(rapid.IntRange(0, 100_000).Draw(t, name)) / 1000)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(rapid.IntRange(0, values.Len()-1).Draw(t, name)).Number())
	case protoreflect.MessageKind:
		m := empty.Message()
		if d, ok := m.Interface().(*durationpb.Duration); ok {
			proto.Merge(d, durationpb.New(time.Duration(rapid.Int64().Draw(t, name))))
		} else {
			fill(t, m)
		}
		return empty
	default:
		panic("no values of " + f.Kind().String())
	}
}

// prune leaves out messages that say nothing: absent, and there but empty, mean
// the same, but for health. So do no idle time, and one of 0, and no age.
func prune(m protoreflect.Message) {
	if recycle, ok := m.Interface().(*roostv1.Recycle); ok && recycle.GetMaxAge().AsDuration() == 0 {
		recycle.MaxAge = nil
	}
	if idle, ok := m.Interface().(*roostv1.Idle); ok && idle.GetAfter().AsDuration() == 0 {
		idle.After = nil
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() != protoreflect.MessageKind || f.IsList() || f.IsMap() || f.ContainingOneof() != nil {
			return true
		}
		prune(v.Message())
		switch v.Message().Interface().(type) {
		case *durationpb.Duration, *roostv1.Health:
		default:
			if proto.Size(v.Message().Interface()) == 0 {
				m.Clear(f)
			}
		}
		return true
	})
}

func TestSpecFrom_Faults(t *testing.T) {
	p := &roostv1.AppSpec{
		Name:        "web",
		Listen:      &roostv1.Listen{Mode: 99},
		Start:       &roostv1.Start{When: 98, Timeout: &durationpb.Duration{Seconds: 1, Nanos: -1}},
		Requests:    &roostv1.Requests{Websockets: 97},
		Restart:     &roostv1.Restart{When: 96},
		Limits:      &roostv1.Limits{Cpu: math.NaN()},
		RedactedEnv: []string{"SECRET"},
	}
	_, faults := specFrom(p)
	got := map[string]string{}
	for _, f := range faults {
		got[f.Field] = f.Message
	}
	want := []string{
		"apps.web.env.SECRET", "apps.web.limits.cpu", "apps.web.listen.mode", "apps.web.requests.websockets",
		"apps.web.restart.when", "apps.web.start.timeout", "apps.web.start.when",
	}
	if fields := slices.Sorted(maps.Keys(got)); !slices.Equal(fields, want) {
		t.Errorf("faults of %v\nwant %v", fields, want)
	}
	if _, faults := specFrom(&roostv1.AppSpec{Limits: &roostv1.Limits{Cpu: 0.0001}}); len(faults) != 1 {
		t.Errorf("a limit that would become none: %v", faults)
	}
}

func TestSpecTo_HidesEnv(t *testing.T) {
	spec, _ := specFrom(&roostv1.AppSpec{Name: "web", Env: map[string]string{"B": "secret", "A": "secret"}})
	p := specTo(spec, false)
	if len(p.Env) != 0 || !slices.Equal(p.RedactedEnv, []string{"A", "B"}) {
		t.Errorf("got %v", p)
	}
	if _, faults := specFrom(p); len(faults) != 2 {
		t.Errorf("a spec that comes back without its values: %v", faults)
	}
}

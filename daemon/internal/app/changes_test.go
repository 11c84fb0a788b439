package app

import (
	"reflect"
	"testing"
	"time"
)

// A field that is added to Spec and not to the table would change unseen: no new
// generation, and no new instances.
func TestChangedPaths_KnowsEveryField(t *testing.T) {
	base := valid().WithDefaults()
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		if v.Kind() == reflect.Struct {
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
			return
		}
		if path == ".Name" {
			return // another name is another app
		}
		before := reflect.New(v.Type()).Elem()
		before.Set(v)
		v.Set(other(v))
		if len(ChangedPaths(valid().WithDefaults(), base)) == 0 {
			t.Errorf("a change of Spec%s is not seen", path)
		}
		v.Set(before)
	}
	walk("", reflect.ValueOf(&base).Elem())
}

// other is a value unlike v.
func other(v reflect.Value) reflect.Value {
	o := reflect.New(v.Type()).Elem()
	switch v.Interface().(type) {
	case string, ListenMode, StartWhen, RestartWhen, WebSocketDrain, ProbeKind, Preset, OnRapidFail, WhenFull:
		o.SetString("other")
	case int, int64, time.Duration:
		o.SetInt(v.Int() + 1)
	case []string:
		o.Set(reflect.ValueOf([]string{"other"}))
	case []Route:
		o.Set(reflect.ValueOf([]Route{{Path: "/other"}}))
	case map[string]string:
		o.Set(reflect.ValueOf(map[string]string{"other": "1"}))
	case *int:
		o.Set(reflect.ValueOf(new(-1)))
	case bool:
		o.SetBool(!v.Bool())
	case *Health:
		o.Set(reflect.ValueOf(&Health{Failures: new(-1)}))
	case *bool:
		o.Set(reflect.ValueOf(new(!*v.Interface().(*bool))))
	case *time.Duration:
		o.Set(reflect.ValueOf(new(-time.Second)))
	default:
		panic("a type that the test does not know: " + v.Type().String())
	}
	return o
}

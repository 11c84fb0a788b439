package app

import "strings"

// validatePreset checks what the preset means beside the rest of the spec.
func (s Spec) validatePreset(v *violations) {
	switch s.Preset {
	case "":
		return
	case PresetASPNETCore:
	default:
		v.add("preset", "%q is not known: aspnetcore is the only one", s.Preset)
		return
	}
	if s.Listen.Mode != ListenPort {
		v.add("listen.mode", "preset aspnetcore gives the app its port: take listen.mode out, or the preset")
	}
	for i, r := range s.Routes {
		field := func(name string) string { return routeField(i) + "." + name }
		if r.StripPath {
			v.add(field("strip_path"), "an ASP.NET Core app splits its path off itself: take it out")
		}
		if !strings.EqualFold(r.Path, s.PathBase()) {
			v.add(field("path"), "%q differs from routes[0]: preset aspnetcore has one path for all routes", r.Path)
		}
	}
}

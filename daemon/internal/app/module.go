package app

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The variables by which the ASP.NET Core Module and the middleware in an app
// agree. The middleware is active where port, path and token are all set.
const (
	ModulePort         = "ASPNETCORE_PORT"
	ModuleToken        = "ASPNETCORE_TOKEN"
	modulePath         = "ASPNETCORE_APPL_PATH"
	moduleAuth         = "ASPNETCORE_IIS_HTTPAUTH"
	modulePhysicalPath = "ASPNETCORE_IIS_PHYSICAL_PATH"
	moduleWebSockets   = "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED"
	moduleAssemblies   = "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES"
	moduleHTTPSPort    = "ASPNETCORE_ANCM_HTTPS_PORT"
	urls               = "ASPNETCORE_URLS"
	shutdownTimeout    = "DOTNET_SHUTDOWNTIMEOUTSECONDS"
)

// secretVariables are those of Roost's own that hold the pairing token.
var secretVariables = []string{"ROOST_TOKEN", ModuleToken}

// SecretVariables are the variables that hold the pairing token. They must not
// appear where other users of the host can read them.
func SecretVariables() []string { return slices.Clone(secretVariables) }

// moduleOverwritten are set whatever the app's own environment says, as the
// module does: a web.config that sets them is not at fault.
var moduleOverwritten = []string{modulePath, moduleAuth, modulePhysicalPath}

// moduleRefused are ours to set, and a value of the user's would be a mistake.
var moduleRefused = []string{ModulePort, ModuleToken}

// moduleDefaults are set where the app's own environment does not.
var moduleDefaults = []string{moduleWebSockets, moduleAssemblies, moduleHTTPSPort, urls, shutdownTimeout}

// moduleVariables are all that the preset may set.
func moduleVariables() []string {
	return slices.Concat(moduleRefused, moduleOverwritten, moduleDefaults)
}

// ModuleVariables are what the module sets for an app that has the preset: those
// that nothing of the user's replaces, and those that are set where given has none
// of the name.
func (l Launch) ModuleVariables(given ...map[string]string) (own, defaults map[string]string) {
	if l.Spec.Preset != PresetASPNETCore {
		return nil, nil
	}
	path := or(l.PathBase, "/")
	own = map[string]string{
		ModulePort: strconv.Itoa(l.Port), ModuleToken: l.Token, modulePath: path,
		// Without it apps that have one scheme answer 500 to a challenge: they take
		// "Windows", which there is none of, for the second.
		moduleAuth:         "anonymous;",
		modulePhysicalPath: l.Dir,
	}
	defaults = map[string]string{
		// Unset, the middleware goes by the version of the kernel.
		moduleWebSockets: "true",
		moduleAssemblies: "Microsoft.AspNetCore.Server.IISIntegration",
		// For apps without the middleware; the others listen where the port says.
		urls: "http://127.0.0.1:" + strconv.Itoa(l.Port),
	}
	if l.HTTPSPort > 0 {
		defaults[moduleHTTPSPort] = strconv.Itoa(l.HTTPSPort)
	}
	if limit := *l.Spec.Stop.Timeout; limit > 0 && !named(given, "ASPNETCORE_SHUTDOWNTIMEOUTSECONDS") {
		// One below, so that the app cuts what is open itself, and is not killed for it.
		defaults[shutdownTimeout] = strconv.Itoa(max(1, int(limit/time.Second)-1))
	}
	maps.DeleteFunc(defaults, func(name, _ string) bool { return named(given, name) })
	return own, defaults
}

// WithoutModuleVariables returns a user's variables without those that the module
// overwrites, however they are written: .NET does not tell port from PORT.
func (l Launch) WithoutModuleVariables(vars map[string]string) map[string]string {
	if l.Spec.Preset != PresetASPNETCore {
		return vars
	}
	vars = maps.Clone(vars)
	maps.DeleteFunc(vars, func(name, _ string) bool {
		return oneOf(moduleOverwritten, name) || oneOf(moduleRefused, name)
	})
	return vars
}

// named tells whether one of the layers has the variable, in any case.
func named(layers []map[string]string, name string) bool {
	return slices.ContainsFunc(layers, func(vars map[string]string) bool {
		if _, ok := vars[name]; ok {
			return true
		}
		for k := range vars {
			if strings.EqualFold(k, name) {
				return true
			}
		}
		return false
	})
}

// oneOf tells whether names has a name, in any case.
func oneOf(names []string, name string) bool {
	return slices.ContainsFunc(names, func(s string) bool { return strings.EqualFold(s, name) })
}

package webconfig

import (
	"regexp"
	"strconv"
	"strings"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// variables are those of the app, in the order of the file. Names that differ in
// case only are one, as in Windows: the last wins.
type variables struct {
	list  []variableOf
	index map[string]int // by the name in lower case
	rings []int          // of each, once they are asked for
}

type variableOf struct {
	name  string
	attr  attribute // of the value
	value string    // as it is written in a manifest
}

func (v *variables) find(name string) *variableOf {
	if i, ok := v.index[strings.ToLower(name)]; ok {
		return &v.list[i]
	}
	return nil
}

func (v *variables) put(name string, a attribute) {
	if old := v.find(name); old != nil {
		old.name, old.attr = name, a
		return
	}
	if v.index == nil {
		v.index = map[string]int{}
	}
	v.index[strings.ToLower(name)] = len(v.list)
	v.list = append(v.list, variableOf{name: name, attr: a})
}

const portVariable = "ASPNETCORE_PORT"

// ours are the variables that the module sets whatever the user says, and so
// does Roost, each with what to do instead.
var ours = map[string]string{
	"ASPNETCORE_APPL_PATH":                "it is the route's path",
	"ASPNETCORE_IIS_HTTPAUTH":             "it says how IIS authenticated, and nothing here does",
	"ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": `<webSocket enabled="false"/> is how to turn them off`,
	"ASPNETCORE_IIS_PHYSICAL_PATH":        "it is the app's folder",
	"ASPNETCORE_TOKEN":                    "each instance has a token of its own, which nobody else knows",
	"PORT":                                "ASPNETCORE_PORT fixes a port",
}

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	// pathBelow is a path from the app's folder, or from one that a variable names.
	pathBelow    = regexp.MustCompile(`^(?:\.{1,2}|%[A-Za-z_][A-Za-z0-9_]*%)\\`)
	windowsLogin = regexp.MustCompile(`(?i)(integrated security|trusted_connection)\s*=\s*(true|yes|sspi)`)
)

// variablesOf takes in the names of <environmentVariables>, so that values may
// refer to any of them.
func (r *reader) variablesOf(s *element) {
	for _, e := range s.children {
		switch e.name {
		case "environmentVariable":
			r.variable(e)
		case "clear":
			r.env = variables{}
		default:
			r.error(e.place, "env", "<%s> cannot stand in <environmentVariables>, IIS would not start the app: only environmentVariable and clear can", e.name)
		}
	}
}

func (r *reader) variable(e *element) {
	r.onlyAttributes(e, "env", "name", "value")
	for _, a := range e.attrs {
		if a.prefix == "encrypted" && (a.name == "name" || a.name == "value") {
			return // reported: an encrypted value is never carried on
		}
	}
	n, v := e.attr("name"), e.attr("value")
	switch {
	case n == nil || n.value == "":
		r.error(e.place, "env", "<environmentVariable> has no name")
		return
	case v == nil:
		r.error(e.place, "env", "<environmentVariable name=%q> has no value: an empty one is value=\"\"", n.value)
		return
	case r.token(n, "env"):
		return
	}
	name := strings.ReplaceAll(n.value, ":", "__")
	upper := strings.ToUpper(name)
	instead, mine := ours[upper]
	switch {
	case mine:
		r.warn(e.place, "%s is set for the app, so this value is not: %s", upper, instead)
		return
	case strings.HasPrefix(upper, "ROOST_"):
		r.warn(e.place, "%s is not carried over: names that begin with ROOST_ are Roost's own", name)
		return
	case strings.HasPrefix(upper, "ANCM_"), strings.HasPrefix(upper, "ASPNETCORE_MODULE_"):
		if upper != "ANCM_HTTPS_PORT" {
			r.warn(e.place, "%s is an option of the module and not carried over: see handlerSettings in docs/from-iis.md", name)
			return
		}
	case upper == portVariable || upper == "PATH": // names that mean the same in any case, there
		name = upper
	case !variableName.MatchString(name):
		r.error(n.place, "env", "%q cannot be the name of a variable here: letters, digits, _, . and -, no digit first", n.value)
		return
	}
	if name != n.value && strings.Contains(n.value, ":") {
		r.warn(n.place, "%s is named %s here: ASP.NET Core reads __ as it reads the colon", n.value, name)
	}
	if old := r.env.find(name); old != nil && old.name != name && upper != "PATH" {
		r.warn(n.place, "%s and %s are one variable in Windows: this one, the last, wins", old.name, name)
	}
	r.env.put(name, *v)
}

// environment expands the values and makes them the spec's.
func (r *reader) environment() {
	if a := r.noWebSockets; a != nil {
		r.env.put("ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED", attribute{name: a.name, value: "false", place: a.place})
	}
	for i := range r.env.list {
		v := &r.env.list[i]
		field := "env." + v.name
		if v.name == portVariable {
			continue
		}
		r.token(&v.attr, field)
		v.value = r.expand(&v.attr, field, v.name)
		switch {
		case v.name == "PATH":
			v.value = r.searchPath(v)
		case isWindowsPath(v.attr.value), pathBelow.MatchString(v.attr.value):
			r.warn(v.attr.place, "%s is a path of Windows: change it, or the app will look for it", v.name)
		case windowsLogin.MatchString(v.attr.value):
			r.warn(v.attr.place, "%s logs in as the Windows user of the app: here that needs a keytab, or a user and password (in env_files)", v.name)
		case strings.EqualFold(v.name, "ASPNETCORE_URLS") && !strings.Contains(v.value, "${PORT}"):
			r.warn(v.attr.place, "%s does not name the app's port: an app with the IIS integration ignores it, another one would not be found ready", v.name)
		}
		if r.spec.Env == nil {
			r.spec.Env = map[string]string{}
		}
		r.spec.Env[v.name] = v.value
		r.mark(field, v.attr.place)
	}
}

// searchPath writes a PATH as Linux has it, without the folders of Windows.
func (r *reader) searchPath(v *variableOf) string {
	var kept, dropped []string
	for dir := range strings.SplitSeq(v.value, ";") {
		switch {
		case dir == "":
		case strings.Contains(dir, `\`) || hasDrive(dir):
			dropped = append(dropped, dir)
		default:
			kept = append(kept, dir)
		}
	}
	if len(dropped) > 0 {
		r.warn(v.attr.place, "PATH goes without %s: folders of Windows", unescape(strings.Join(dropped, " and ")))
	}
	if len(kept) == 0 {
		return "${PATH}"
	}
	return strings.Join(kept, ":")
}

// fixedPort reads ASPNETCORE_PORT, which fixes the app's port. An empty one does not.
func (r *reader) fixedPort(instances int32) {
	v := r.env.find(portVariable)
	if v == nil || v.attr.value == "" || r.token(&v.attr, "listen.port") {
		return
	}
	at := v.attr.place
	n, err := strconv.ParseUint(strings.TrimSpace(v.attr.value), 10, 16)
	if err != nil || n < 1025 || n > 48000 {
		r.error(at, "listen.port", "ASPNETCORE_PORT %q is not a port from 1025 to 48000: leave it out for a free one", v.attr.value)
		return
	}
	if instances > 1 {
		r.error(at, "listen.port", "ASPNETCORE_PORT fixes one port, and processesPerApplication wants %d processes: they cannot share it", instances)
		return
	}
	overlap := false
	r.spec.Listen = &roostv1.Listen{Port: int32(n)}
	r.spec.Recycle.Overlap = &overlap
	r.mark("listen.port", at)
	r.mark("recycle.overlap", at)
	r.warn(at, "ASPNETCORE_PORT fixes the port, so a recycle stops the old process before it starts the new one: leave it out, and it need not")
}

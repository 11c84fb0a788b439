package webconfig

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
)

// attributes are those that <aspNetCore> has, each with what takes it over, in
// the order they are read.
var attributes = []struct {
	name string
	take func(*reader, *attribute)
}{
	{"processPath", nil}, // with arguments, once all variables are known
	{"arguments", nil},
	{"stdoutLogEnabled", nil},
	{"stdoutLogFile", nil},
	{"processesPerApplication", (*reader).processes},
	{"startupTimeLimit", (*reader).startupTimeLimit},
	{"shutdownTimeLimit", (*reader).shutdownTimeLimit},
	{"rapidFailsPerMinute", (*reader).rapidFails},
	{"requestTimeout", (*reader).requestTimeout},
	{"disableStartUpErrorPage", (*reader).startUpErrorPage},
	{"hostingModel", (*reader).hostingModel},
	{"forwardWindowsAuthToken", (*reader).windowsToken},
}

// onlyAttributes refuses what IIS's schema does not know, as IIS does: it would
// have answered 500.19. Those of every section are known everywhere.
func (r *reader) onlyAttributes(e *element, field string, known ...string) {
	for _, a := range e.attrs {
		if a.prefix != "" || strings.HasPrefix(a.name, "lock") || slices.Contains(known, a.name) {
			continue
		}
		hint := ""
		switch near := manifest.Nearest(a.name, known); {
		case a.name == "startupRetryCount":
			hint = ": it is of <httpPlatform>"
		case near != "":
			hint = ": did you mean " + near + "?"
		}
		r.error(a.place, field, "<%s> has no attribute %s, and IIS refuses the file%s", e.name, a.name, hint)
	}
}

// readApp reads <aspNetCore>.
func (r *reader) readApp() {
	e := r.aspNetCore
	var known []string
	for _, a := range attributes {
		known = append(known, a.name)
	}
	r.onlyAttributes(e, "", known...)
	for _, c := range e.children {
		switch c.name {
		case "environmentVariables":
			r.variablesOf(c)
		case "handlerSettings":
			r.handlerSettings(c)
		case "recycleOnFileChange":
			r.recycleOnFileChange(c)
		default:
			r.error(c.place, "", "<aspNetCore> has no element %s, and IIS refuses the file: environmentVariables, handlerSettings and recycleOnFileChange are all", c.name)
		}
	}
	for _, known := range attributes {
		if a := e.attr(known.name); a != nil && known.take != nil {
			known.take(r, a)
		}
	}
	r.environment()
	r.fixedPort(r.spec.GetInstances())
	r.stdoutLog(e)
	r.command(e)
}

func (r *reader) processes(a *attribute) {
	if n, ok := r.number(a, "instances", 1, 100); ok {
		r.spec.Instances = &n
		r.mark("instances", a.place)
	}
}

func (r *reader) startupTimeLimit(a *attribute) {
	d, ok := r.seconds(a, "start.timeout", 0, 3600)
	switch {
	case ok && d == 0:
		r.error(a.place, "start.timeout", "startupTimeLimit 0 leaves the app no time to start, it is not endless: give it up to 3600 seconds")
	case ok:
		r.start().Timeout = durationpb.New(d)
		r.mark("start.timeout", a.place)
	}
}

func (r *reader) shutdownTimeLimit(a *attribute) {
	if d, ok := r.seconds(a, "stop.timeout", 0, 600); ok {
		r.spec.Stop = &roostv1.Stop{Timeout: durationpb.New(d)}
		r.mark("stop.timeout", a.place)
	}
}

func (r *reader) rapidFails(a *attribute) {
	if n, ok := r.number(a, "restart.rapid_fails_per_minute", 0, 100); ok {
		r.spec.Restart = &roostv1.Restart{RapidFailsPerMinute: &n}
		r.mark("restart.rapid_fails_per_minute", a.place)
	}
}

const maxRequestTimeout = 360 * time.Hour

func (r *reader) requestTimeout(a *attribute) {
	if r.token(a, "requests.timeout") {
		return
	}
	d, ok := timeSpan(a.value)
	switch {
	case !ok || d > maxRequestTimeout:
		r.error(a.place, "requests.timeout", "requestTimeout %q is not hours:minutes:seconds from 00:00:00 to 360:00:00", a.value)
		return
	case d == 0:
		r.warn(a.place, "requestTimeout 0 is the longest there is: 360 hours")
		d = maxRequestTimeout
	}
	r.spec.Requests.Timeout = durationpb.New(d)
	r.mark("requests.timeout", a.place)
}

func (r *reader) startUpErrorPage(a *attribute) {
	if off, ok := r.boolean(a, "error_page.disable_startup"); ok && off {
		r.spec.ErrorPage = &roostv1.ErrorPage{DisableStartup: true}
		r.mark("error_page.disable_startup", a.place)
	}
}

func (r *reader) hostingModel(a *attribute) {
	if r.token(a, "") {
		return
	}
	switch strings.ToLower(a.value) {
	case "", "outofprocess":
	case "inprocess":
		r.warn(a.place, "hostingModel inprocess: the app runs out of process here, as its own process with Kestrel; nothing in it has to change")
	default:
		r.error(a.place, "", "hostingModel %q is neither inprocess nor outofprocess", a.value)
	}
}

func (r *reader) windowsToken(a *attribute) {
	if on, ok := r.boolean(a, ""); ok && on {
		r.warn(a.place, "forwardWindowsAuthToken has no meaning here: there are no Windows tokens; an app can authenticate by itself with AddNegotiate and a keytab (docs/from-iis.md)")
	}
}

var azureLogs = []string{"%home%/logfiles/", "d:/home/logfiles/", "c:/home/logfiles/"}

// stdoutLog reads where a copy of the app's output goes.
func (r *reader) stdoutLog(e *element) {
	enabled, file := e.attr("stdoutLogEnabled"), e.attr("stdoutLogFile")
	const field = "logs.stdout_file"
	on := false
	if enabled != nil {
		on, _ = r.boolean(enabled, field)
	}
	if file != nil && file.value == "" {
		r.error(file.place, field, "stdoutLogFile is empty, and IIS refuses the file: leave it out for .\\aspnetcore-stdout")
		return
	}
	if !on {
		return
	}
	prefix, at := "aspnetcore-stdout", enabled.place
	if file != nil {
		r.token(file, field)
		prefix, at = r.logPrefix(file, field), file.place
	}
	r.spec.Logs = &roostv1.Logs{StdoutFile: prefix}
	r.mark(field, at)
}

func (r *reader) logPrefix(file *attribute, field string) string {
	plain := strings.TrimPrefix(slashes(strings.TrimSpace(file.value)), "//?/")
	for _, azure := range azureLogs {
		if len(plain) > len(azure) && strings.EqualFold(plain[:len(azure)], azure) {
			return "${HOME}/LogFiles/" + escape(plain[len(azure):])
		}
	}
	if isWindowsPath(plain) || strings.HasPrefix(plain, "//") {
		local := "logs/" + escape(path.Base(plain))
		r.warn(file.place, "stdoutLogFile %s is a path of Windows: it is %s in the app's folder now", file.value, local)
		return local
	}
	expanded := r.expand(&attribute{name: file.name, value: plain, place: file.place}, field, "")
	if strings.HasSuffix(expanded, "/") {
		return expanded
	}
	return path.Clean(expanded)
}

// settings are the keys of <handlerSettings>, in lower case, with what to do
// instead of those that have no meaning here; "" says nothing.
var settings = map[string]string{
	"handlerversion":                       "there are no versions of a handler to choose from",
	"debuglevel":                           "roostctl events and logs tell what the module's debug log does, always",
	"debugfile":                            "roostctl events and logs tell what the module's debug log does, always",
	"shutdowndelay":                        "a recycle drains: no request meets a process that ends (stop.drain)",
	"enableshadowcopy":                     "files are never locked; deploy into a new folder and move a link (docs/from-iis.md)",
	"experimentalenableshadowcopy":         "files are never locked; deploy into a new folder and move a link (docs/from-iis.md)",
	"shadowcopydirectory":                  "files are never locked; deploy into a new folder and move a link (docs/from-iis.md)",
	"cleanshadowcopydirectory":             "files are never locked; deploy into a new folder and move a link (docs/from-iis.md)",
	"enableoutofprocessconsoleredirection": "output is always kept: roostctl logs",
	"forwardresponseconnectionheader":      "Connection is of each connection alone, it never passes a proxy",
	"stacksize":                            "it is of in-process hosting; DOTNET_DefaultStackSize is the runtime's own setting",
	"setcurrentdirectory":                  "the app always runs in its folder",
	"callstartuphook":                      "it is of in-process hosting",
	"suppressrecycleonstartuptimeout":      "it is of in-process hosting",
}

func (r *reader) handlerSettings(s *element) {
	for _, e := range s.children {
		if e.name == "clear" || e.name == "remove" {
			continue
		}
		if e.name != "handlerSetting" {
			r.error(e.place, "", "<%s> cannot stand in <handlerSettings>: only handlerSetting can", e.name)
			continue
		}
		r.onlyAttributes(e, "", "name", "value")
		name, value := e.attr("name"), e.attr("value")
		if name == nil || value == nil {
			r.error(e.place, "", "<handlerSetting> needs both name and value")
			continue
		}
		r.handlerSetting(e, strings.ToLower(name.value), name, value)
	}
}

func (r *reader) handlerSetting(e *element, key string, name, value *attribute) {
	if key == "disallowrotationonconfigchange" {
		if off, ok := r.boolean(value, "recycle.watch"); ok && off {
			r.noWatch = true
		}
		return
	}
	instead, known := settings[key]
	if !known {
		r.warn(e.place, "handlerSetting %s is not known, and has no meaning here: take it out", name.value)
		return
	}
	if key == "shutdowndelay" {
		if n, err := strconv.Atoi(strings.TrimSpace(value.value)); err != nil || n < 0 {
			r.error(value.place, "", "shutdownDelay %q is not a number of milliseconds, and IIS refuses the file: take it out", value.value)
			return
		}
	}
	r.warn(e.place, "handlerSetting %s has no meaning here: %s", name.value, instead)
}

// recycleOnFileChange names files whose change shall recycle the app: what the
// module's schema has and its code never did.
func (r *reader) recycleOnFileChange(s *element) {
	for _, e := range s.children {
		a := e.attr("path")
		if e.name != "file" || a == nil {
			r.warn(e.place, "<%s> in <recycleOnFileChange> names no file", e.name)
			continue
		}
		file := path.Clean(slashes(a.value))
		if path.IsAbs(file) || hasDrive(file) || file == "." || file == ".." || strings.HasPrefix(file, "../") || strings.Contains(file, "%") {
			r.warn(a.place, "%q is not watched: only files below the app's folder are", a.value)
			continue
		}
		r.watch = append(r.watch, literalPattern(file))
		r.warn(a.place, "a change of %s recycles the app here; the module reads this setting and does nothing", file)
	}
}

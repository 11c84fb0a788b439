package webconfig

import (
	"strings"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// insteads say, for sections without a meaning here, what to do instead.
var insteads = map[string]string{
	"httpErrors":              "the app makes its error pages (UseStatusCodePages), and what never reached it gets the proxy's",
	"staticContent":           "the app serves its files: UseStaticFiles, with a FileExtensionContentTypeProvider for more types",
	"httpProtocol":            "the app sets its headers",
	"handlers":                "every request goes to the app",
	"modules":                 "every request goes to the app, and its middleware does what modules did",
	"globalModules":           "every request goes to the app, and its middleware does what modules did",
	"httpCompression":         "the app compresses: UseResponseCompression",
	"urlCompression":          "the app compresses: UseResponseCompression",
	"defaultDocument":         "the app answers /: UseDefaultFiles",
	"directoryBrowse":         "the app lists folders, if any: UseDirectoryBrowser",
	"caching":                 "the app caches: UseOutputCache",
	"tracing":                 "see roostctl events and the proxy's access log",
	"httpTracing":             "see roostctl events and the proxy's access log",
	"httpLogging":             "the proxy writes the access log: --access-log",
	"serverRuntime":           "requests stream to the app, none is buffered",
	"cgi":                     "every request goes to the app",
	"fastCgi":                 "every request goes to the app",
	"asp":                     "every request goes to the app",
	"validation":              "it is of ASP.NET before Core",
	"applicationDependencies": "only IIS has use for it",
	"isapiCgiRestriction":     "only IIS has use for it",
	"isapiFilters":            "only IIS has use for it",
	"serverSideInclude":       "only IIS has use for it",
	"odbcLogging":             "the proxy writes the access log: --access-log",
	"webdav":                  "every request goes to the app",
	"urlPrefixes":             "only IIS has use for it",
}

// meaningless warns of a section that has no meaning here.
func (r *reader) meaningless(s *element) {
	instead, known := insteads[s.name]
	if !known {
		instead = "take it out"
	}
	switch s.name {
	case "handlers":
		if onlyOurs(s) {
			return
		}
	case "httpProtocol":
		if h := s.child("customHeaders"); h != nil {
			r.customHeaders(h)
			return
		}
	}
	r.warn(s.place, "<%s> has no meaning here: %s", s.name, instead)
}

// onlyOurs reports whether handlers are what publish writes: all requests to the
// module.
func onlyOurs(s *element) bool {
	for _, e := range s.children {
		path := e.value("path")
		switch {
		case e.name == "clear":
		case e.name == "remove" && strings.EqualFold(e.value("name"), "aspNetCore"):
		case e.name == "add" && strings.HasPrefix(e.value("modules"), "AspNetCoreModule") && (path == "*" || path == "*.*" || path == ""):
		default:
			return false
		}
	}
	return true
}

func (r *reader) customHeaders(h *element) {
	var names []string
	for _, e := range h.children {
		if e.name == "add" {
			names = append(names, e.value("name"))
		}
	}
	if len(names) == 0 {
		return // X-Powered-By is taken out, and nobody adds it here
	}
	r.warn(h.place, "<customHeaders> have no meaning here: let the app set %s", strings.Join(names, ", "))
}

// webSocket is off where the app shall not see upgrades.
func (r *reader) webSocket(s *element) {
	a := s.attr("enabled")
	if a != nil {
		on, ok := r.boolean(a, "")
		if ok && !on {
			r.noWebSockets = a
		}
	}
	if n := len(s.attrs); n > 1 || n == 1 && a == nil {
		r.warn(s.place, "of <webSocket> only enabled has a meaning here: the app sets the rest (WebSocketOptions)")
	}
}

// warmup is the page that IIS asks for before it hands the app over.
func (r *reader) warmup(s *element) {
	var pages []*attribute
	for _, e := range s.children {
		if a := e.attr("initializationPage"); e.name == "add" && a != nil {
			pages = append(pages, a)
		}
	}
	for i, a := range pages {
		switch {
		case i > 0:
			r.warn(a.place, "initializationPage %q is not asked for: there is one warm-up page, the first", a.value)
		case r.token(a, "start.warmup"):
		default:
			page := slashes(a.value)
			if !strings.HasPrefix(page, "/") {
				page = "/" + page
			}
			r.start().Warmup = page
			r.mark("start.warmup", a.place)
		}
	}
	if s.attr("remapManagedRequestsTo") != nil {
		r.warn(s.place, "remapManagedRequestsTo has no meaning here: requests wait for the app")
	}
}

func (r *reader) httpRedirect(s *element) {
	if a := s.attr("enabled"); a != nil && isTrue(s, "enabled", false) {
		r.loss("httpRedirect", a.place, "", "<httpRedirect> leads every request to %s, and nothing here does: let the app redirect", s.value("destination"))
	}
}

func (r *reader) start() *roostv1.Start {
	if r.spec.Start == nil {
		r.spec.Start = &roostv1.Start{}
	}
	return r.spec.Start
}

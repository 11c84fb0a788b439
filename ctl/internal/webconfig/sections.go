package webconfig

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const xdtNamespace = "http://schemas.microsoft.com/XML-Document-Transform"

// findTransforms finds instructions of a transform: a file that has them was to
// be applied to another one, and never ran in IIS.
func (r *reader) findTransforms(root *element) {
	var first *attribute
	root.walk(func(e *element) bool {
		for i := range e.attrs {
			if a := &e.attrs[i]; first == nil && (a.prefix == xdtNamespace || a.prefix == "xdt") {
				first = a
			}
		}
		return first == nil
	})
	if first != nil {
		r.loss(lossTransform, first.place, "", "xdt:%s: this is a transform, which IIS never ran: apply it (dotnet publish does) and import the web.config that results", first.name)
	}
}

// collect returns the sections that are about the whole app, and reports what
// stands elsewhere.
func (r *reader) collect(root *element) []*element {
	var sections []*element
	for _, e := range root.children {
		e = r.external(e, false)
		switch {
		case e == nil:
		case e.name == "location" && isWholeApp(e.value("path")):
			sections = append(sections, r.collect(e)...)
		case e.name == "location":
			r.otherLocation(e)
		case e.name == "system.webServer":
			sections = append(sections, e.children...)
		default:
			r.foreign(e)
		}
	}
	return sections
}

func isWholeApp(location string) bool {
	location = strings.TrimSpace(location)
	return location == "" || location == "." || location == "./"
}

// external replaces a section by what its configSource holds, and takes out what
// only the old machine can decrypt, wherever below it that is. What is read from
// such a source has no source of its own, or they could go round.
func (r *reader) external(e *element, fromSource bool) *element {
	if r.encrypted(e) {
		return nil
	}
	if source := e.attr("configSource"); source != nil {
		return r.fromSource(e, source, fromSource)
	}
	kept := e.children[:0]
	for _, c := range e.children {
		if c = r.external(c, fromSource); c != nil {
			kept = append(kept, c)
		}
	}
	e.children = kept
	return e
}

func (r *reader) fromSource(e *element, source *attribute, nested bool) *element {
	if nested {
		r.loss(lossSource, source.place, "", "configSource in a file that is one: put the section into the web.config")
		return nil
	}
	root, message := r.readSource(source.value)
	if message == "" && root.name != e.name {
		message = "it holds <" + root.name + ">"
	}
	if message != "" {
		r.loss(lossSource, source.place, "", "configSource %q of <%s>: %s: put the section into this file", source.value, e.name, message)
		return nil
	}
	root.parent = e.parent
	return r.external(root, true)
}

// readSource reads the file of a configSource, which lies in the app's folder.
func (r *reader) readSource(name string) (*element, string) {
	file := path.Clean(slashes(name))
	if !fs.ValidPath(file) || hasDrive(file) || file == "." {
		return nil, "only a file in this folder can be one"
	}
	f, err := r.src.Folder.Open(file)
	if err != nil {
		return nil, "it cannot be read"
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxText+1))
	if err != nil {
		return nil, "it cannot be read"
	}
	text, err := decode(raw)
	if err != nil {
		return nil, err.Error()
	}
	doc := newDocument(path.Join(path.Dir(slashes(r.src.Name)), file), text)
	root, err := parse(doc)
	if err != nil {
		r.syntax(doc, err)
		return nil, "it is malformed"
	}
	return root, ""
}

// encrypted reports a section that is encrypted.
func (r *reader) encrypted(e *element) bool {
	a := e.attr("configProtectionProvider")
	data := e.child("EncryptedData")
	switch {
	case a != nil:
		r.loss(lossEncrypted, a.place, "", "<%s> is encrypted (%s), and only the machine it comes from can read it: decrypt it there (aspnet_regiis -pd), "+
			"and give secrets to the app with env_files", e.name, a.value)
	case data != nil:
		r.loss(lossEncrypted, data.place, "", "<%s> is encrypted, and only the machine it comes from can read it: decrypt it there (aspnet_regiis -pd), "+
			"and give secrets to the app with env_files", e.name)
	default:
		return false
	}
	return true
}

// findApp finds the one <aspNetCore>.
func (r *reader) findApp(root *element, sections []*element) {
	for _, s := range sections {
		switch {
		case s.name != "aspNetCore":
		case r.aspNetCore == nil:
			r.aspNetCore = s
		default:
			line, _ := r.aspNetCore.place.doc.position(r.aspNetCore.place.at)
			r.error(s.place, "", "a second <aspNetCore>: line %d has one already", line)
		}
	}
	if r.aspNetCore != nil {
		return
	}
	at, why := root.place, "it is not the web.config of an ASP.NET Core app, or not as dotnet publish wrote it. Write a roost.yaml for another app"
	root.walk(func(e *element) bool {
		switch {
		case e.name == "aspNetCore":
			at, why = e.place, "the one in this line is not the app's: it must stand in <system.webServer>, under <configuration> or <location path=\".\">"
		case strings.EqualFold(e.name, "aspNetCore"):
			at, why = e.place, "<"+e.name+"> is not it: names are case-sensitive"
		case e.name == "httpPlatform":
			at, why = e.place, "<httpPlatform> is of another module: write a roost.yaml with its processPath and arguments as command"
		}
		return true
	})
	if r.faults.Refuse() && at == root.place { // encrypted, a configSource, a transform: that is why
		return
	}
	r.error(at, "", "it has no <aspNetCore>, so there is no app to run: %s", why)
}

// sections reports or takes over what the sections of system.webServer say.
func (r *reader) sections(sections []*element) {
	for _, s := range sections {
		r.encryptedValues(s)
		switch s.name {
		case "aspNetCore", "httpPlatform": // read by readApp, reported by findApp
		case "webSocket":
			r.webSocket(s)
		case "security":
			r.security(s, "", true)
		case "rewrite":
			r.rewrite(s)
		case "applicationInitialization":
			r.warmup(s)
		case "httpRedirect":
			r.httpRedirect(s)
		default:
			if !strings.EqualFold(s.name, "aspNetCore") { // which findApp says how to write
				r.meaningless(s)
			}
		}
	}
}

// encryptedValues reports values of the form [enc:provider:...:enc].
func (r *reader) encryptedValues(s *element) {
	s.walk(func(e *element) bool {
		for i, a := range e.attrs {
			if !strings.HasPrefix(a.value, "[enc:") {
				continue
			}
			r.loss(lossEncrypted, a.place, "", "%s of <%s> is encrypted, and only the machine it comes from can read it: write what it stands for, "+
				"or give it to the app with env_files", a.name, e.name)
			e.attrs[i].value = ""
			e.attrs[i].prefix = "encrypted" // nobody finds it now
		}
		return true
	})
}

// otherLocation reports what a <location> sets for a path of its own: an app has
// one setting for all its paths here.
func (r *reader) otherLocation(location *element) {
	path := location.value("path")
	var rest []string
	add := func(name string) {
		if !slices.Contains(rest, name) {
			rest = append(rest, name)
		}
	}
	for _, top := range location.children {
		if top.name != "system.webServer" {
			if top.name != "system.web" || !r.webAuthorization(top, path) {
				add(top.name)
			}
			continue
		}
		for _, s := range top.children {
			if s.name != "security" {
				add(s.name)
				continue
			}
			for _, name := range r.security(s, path, false) {
				add(name)
			}
		}
	}
	if len(rest) == 0 {
		return
	}
	at := location.place
	if a := location.attr("path"); a != nil {
		at = a.place
	}
	advice := "let the app do it for that path, or make an app of its own of it (--path)"
	if slices.Contains(rest, "aspNetCore") {
		advice = "it is an app of its own: import it with --path"
	}
	r.loss(lossLocation, at, "", "<location path=%q> sets %s for that path, and an app has one setting for all its paths here: %s",
		path, strings.Join(rest, ", "), advice)
}

// webAuthorization reports <authorization> of system.web and whether it was all
// that there is.
func (r *reader) webAuthorization(web *element, path string) bool {
	if a := web.child("authorization"); a != nil && a.child("deny") != nil {
		r.loss("authorization", a.place, "", "<authorization>%s denies requests, and nothing here does it for the app: use its own authorization (RequireAuthorization, [Authorize])", forPath(path))
	}
	return !slices.ContainsFunc(web.children, func(e *element) bool { return e.name != "authorization" })
}

func forPath(path string) string {
	if path == "" {
		return ""
	}
	return " of " + path
}

// foreign reports what stands beside system.webServer.
func (r *reader) foreign(e *element) {
	switch e.name {
	case "system.web":
		if r.webAuthorization(e, "") {
			return
		}
		if e.child("machineKey") != nil {
			r.warn(e.place, "<machineKey> is not read by ASP.NET Core: its keys are those of Data Protection, see docs/from-iis.md")
			return
		}
		r.warn(e.place, "<system.web> is of ASP.NET before Core and not read by the app: take it out")
	case "configSections", "runtime", "system.codedom":
	case "appSettings", "connectionStrings":
		r.warn(e.place, "<%s> is not read by ASP.NET Core from here: it reads appsettings.json and its environment", e.name)
	default:
		r.warn(e.place, "<%s> has no meaning here: take it out", e.name)
	}
}

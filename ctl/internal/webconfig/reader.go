package webconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
)

// Source is a web.config and what an app is made of beside it.
type Source struct {
	Name       string   // shown in faults
	File       string   // its name in its folder, "web.config"
	Text       []byte   // as it is on disk
	Folder     fs.FS    // its folder, to see what the programs it names are
	Dir        string   // the app's folder, absolute
	App        string   // the app's name
	Host, Path string   // its route, as given
	AcceptLoss []string // names that CheckLosses knows
}

// Import is what could be understood of a source.
type Import struct {
	Spec  *roostv1.AppSpec // nil where it says nothing of an app
	app   string
	flags map[string]string // fields that no file says, but the command line
	marks map[string]place
	whole place
}

// flags are those that the source's fields come from. A name that is made of the
// folder's has no fault.
func (s Source) flags() map[string]string {
	from := map[string]string{"name": "--name"}
	if s.Host != "" {
		from["routes[0].host"], from["routes[0]"] = "--host", "--host"
	}
	if s.Path != "" {
		from["routes[0].path"], from["routes[0]"] = "--path", "--path"
	}
	if s.Host != "" && s.Path != "" {
		from["routes[0]"] = "--host, --path"
	}
	return from
}

// The defaults of IIS that differ from Roost's, written out. They are those of an
// application pool and of request filtering.
const (
	poolIdle    = 20 * time.Minute
	poolMaxAge  = 29 * time.Hour
	poolMaxBody = 30_000_000
)

// reader reads one source. It goes on after a fault, to find them all.
type reader struct {
	src      Source
	accepted map[string]bool
	spec     *roostv1.AppSpec
	marks    map[string]place
	faults   manifest.Faults

	aspNetCore   *element
	noWatch      bool       // disallowRotationOnConfigChange
	noWebSockets *attribute // what turns them off
	watch        []string   // of recycleOnFileChange
	https        roostv1.HttpsPolicy
	env          variables
}

// Read reads a source. It always returns an import, and every fault it found.
func Read(src Source) (*Import, manifest.Faults) {
	r := &reader{src: src, accepted: acceptedLosses(src.AcceptLoss), marks: map[string]place{}}
	text, err := decode(src.Text)
	doc := newDocument(src.Name, text)
	im := &Import{app: src.App, flags: src.flags(), marks: r.marks, whole: place{doc, 0}}
	if err != nil {
		doc.hideMalformed(text, 0)
		r.report(manifest.Error, place{doc, len(text)}, "", err.Error())
		return im, r.faults
	}
	root, err := parse(doc)
	if err != nil {
		r.syntax(doc, err)
		return im, r.faults
	}
	r.read(root)
	if r.aspNetCore != nil {
		im.Spec, im.whole = r.spec, r.aspNetCore.place
	}
	r.faults.Sort()
	return im, r.faults
}

func (r *reader) syntax(doc *document, err error) {
	at := place{doc, 0}
	if e, ok := errors.AsType[*syntaxError](err); ok {
		at.at = e.at
	}
	r.report(manifest.Error, at, "", err.Error())
}

// read reads the tree: first what there is, then the app, which all of it may say
// something of.
func (r *reader) read(root *element) {
	if root.name != "configuration" {
		r.error(root.place, "", "its root is <%s>, and that of a web.config is <configuration>", root.name)
		return
	}
	r.findTransforms(root)
	sections := r.collect(root)
	r.findApp(root, sections)
	r.begin()
	r.sections(sections)
	if r.aspNetCore != nil {
		r.readApp()
		r.finish()
	}
}

// begin makes a spec of what IIS does where nothing is said.
func (r *reader) begin() {
	r.spec = &roostv1.AppSpec{
		Name: r.src.App, Dir: r.src.Dir, Preset: roostv1.Preset_PRESET_ASPNETCORE,
		Recycle:  &roostv1.Recycle{MaxAge: durationpb.New(poolMaxAge)},
		Idle:     &roostv1.Idle{After: durationpb.New(poolIdle)},
		Requests: &roostv1.Requests{MaxBody: poolMaxBody},
	}
}

// finish puts together what several places said.
func (r *reader) finish() {
	route := &roostv1.Route{Host: r.src.Host, Path: r.src.Path, Https: r.https}
	if route.Path == "" {
		route.Path = "/"
	}
	r.spec.Routes = []*roostv1.Route{route}
	if !r.noWatch {
		r.spec.Recycle.Watch = append([]string{literalPattern(r.src.File)}, r.watch...)
	} else {
		r.spec.Recycle.Watch = r.watch
	}
}

// literalPattern is a pattern that matches a name only.
func literalPattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

func (r *reader) field(name string) string {
	if name == "" {
		return ""
	}
	return "apps." + r.src.App + "." + name
}

// mark remembers where a field of the spec comes from.
func (r *reader) mark(field string, at place) { r.marks[field] = at }

// maxFaults is more than anybody reads, and few enough for a file that is made of
// nothing else.
const maxFaults = 500

func (r *reader) report(severity manifest.Severity, at place, field, message string) {
	switch {
	case len(r.faults) < maxFaults:
		r.faults = append(r.faults, faultAt(at, r.field(field), message, severity))
	case len(r.faults) == maxFaults && severity == manifest.Error:
		r.faults = append(r.faults, faultAt(at, "", "and more is wrong from here on: mend what is above first", severity))
	}
}

func faultAt(at place, path, message string, severity manifest.Severity) manifest.Fault {
	line, column := at.doc.position(at.at)
	f := manifest.Fault{File: at.doc.name, Line: line, Column: column, Path: path, Message: message, Severity: severity}
	return f.WithLine(at.doc.around(at.at))
}

func (r *reader) error(at place, field, format string, args ...any) {
	r.report(manifest.Error, at, field, fmt.Sprintf(format, args...))
}

func (r *reader) warn(at place, format string, args ...any) {
	r.report(manifest.Warning, at, "", fmt.Sprintf(format, args...))
}

// Has reports whether the source declares an app.
func (im *Import) Has(app string) bool { return im.Spec != nil && app == im.app }

// Fault makes a fault of the daemon's word on a field, at the flag or the place that
// the field, or the nearest thing around it, was read from.
func (im *Import) Fault(path, message string, severity manifest.Severity) manifest.Fault {
	field := strings.TrimPrefix(path, "apps."+im.app+".")
	at := im.whole
	for field != "" {
		if p, ok := im.marks[field]; ok {
			at = p
			break
		}
		if flag, ok := im.flags[field]; ok {
			return manifest.Fault{File: flag, Path: path, Message: path + ": " + message, Severity: severity}
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return faultAt(at, path, path+": "+message, severity)
}

// IsFile reports whether a file's name is that of a web.config, or of a
// transform of one, in any case.
func IsFile(name string) bool {
	return strings.EqualFold(filepath.Ext(name), ".config")
}

// FindFile returns the name of a folder's web.config as it is written there, ""
// where there is none.
func FindFile(folder fs.FS) (string, error) {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return "", err
	}
	found := ""
	for _, e := range entries {
		if !strings.EqualFold(e.Name(), "web.config") {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("it has both %s and %s: name the file that counts", found, e.Name())
		}
		found = e.Name()
	}
	return found, nil
}

// AppName makes a name for an app of its folder's.
func AppName(folder string) (string, error) {
	var b strings.Builder
	for _, c := range strings.ToLower(filepath.Base(folder)) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b.WriteRune(c)
		} else if !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" || len(name) > 63 {
		return "", fmt.Errorf("the folder's name %q makes no app name: give --name", filepath.Base(folder))
	}
	return name, nil
}

package manifest

import (
	"fmt"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"go.yaml.in/yaml/v4"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Source is a manifest's text and where it is from.
type Source struct {
	Name string // shown in faults
	Base string // absolute folder that relative paths start from; "" where there is none
	Text []byte
}

// Manifest is what could be understood of a source.
type Manifest struct {
	Name  string             // scope of a prune, "" where not given
	Specs []*roostv1.AppSpec // in the order of the file
	d     *decoder
}

// Read decodes a source. It always returns a manifest, with what could be
// decoded, and every fault it found.
func Read(src Source) (*Manifest, Faults) {
	d := &decoder{src: src, lines: splitLines(src.Text), marks: map[string]mark{}, budget: maxExpanded}
	m := &Manifest{d: d}
	if root := d.parseDocument(); root != nil {
		m.decode(root)
	}
	d.faults.Sort()
	return m, d.faults
}

var topKeys = []string{"name", "defaults", "apps"}

func (m *Manifest) decode(root *yaml.Node) {
	d := m.d
	root = resolve(root)
	if root.Kind != yaml.MappingNode {
		d.wrongType(root, "", "a mapping with the keys name, defaults and apps")
		return
	}
	var apps *yaml.Node
	defaults := &roostv1.AppSpec{}
	for _, e := range d.entries("", root) {
		switch e.name {
		case "name":
			d.mark("name", e)
			m.Name, _ = d.text("name", e.value)
		case "defaults":
			d.mark("defaults", e)
			if !isNull(e.value) {
				d.message("defaults", e.value, defaults.ProtoReflect())
				d.forbidName(defaults)
			}
		case "apps":
			d.mark("apps", e)
			apps = e.value
		default:
			d.unknownKey("", e, topKeys, nil)
		}
	}
	if apps == nil {
		d.faultAt(root.Line, root.Column, "apps", "it has no apps: want apps: with an app under it")
		return
	}
	m.decodeApps(apps, defaults)
}

func (d *decoder) forbidName(defaults *roostv1.AppSpec) {
	if defaults.GetName() != "" {
		at := d.marks["defaults.name"]
		d.faultAt(at.line, at.column, "defaults.name", "an app's name is its key under apps: take it out")
		defaults.Name = ""
	}
}

func (m *Manifest) decodeApps(apps *yaml.Node, defaults *roostv1.AppSpec) {
	d := m.d
	apps = resolve(apps)
	if isNull(apps) {
		return
	}
	if apps.Kind != yaml.MappingNode {
		d.wrongType(apps, "apps", "a mapping of app names to apps")
		return
	}
	for _, e := range d.entries("apps", apps) {
		path := "apps." + e.name
		d.mark(path, e)
		if !d.spend(e.value, proto.Size(defaults)) {
			return
		}
		spec := proto.CloneOf(defaults)
		if !isNull(e.value) {
			d.message(path, e.value, spec.ProtoReflect())
		}
		if spec.GetName() != "" && spec.GetName() != e.name {
			at := d.marks[path+".name"]
			d.faultAt(at.line, at.column, path+".name", "the app's name is its key under apps, %q: take it out", e.name)
		}
		spec.Name = e.name
		d.resolvePaths(path, spec)
		m.Specs = append(m.Specs, spec)
	}
}

// resolvePaths makes a spec's paths absolute. A path that begins with a variable
// is left to the daemon, which knows it.
func (d *decoder) resolvePaths(path string, spec *roostv1.AppSpec) {
	switch {
	case spec.GetDir() == "" && d.src.Base != "":
		spec.Dir = d.src.Base
	case spec.GetDir() == "":
		d.faultFor(path+".dir", "%s has no folder that dir could default to: give an absolute dir or --base-dir", d.src.Name)
	default:
		spec.Dir = d.absolute(path+".dir", spec.GetDir())
	}
	for i, f := range spec.GetEnvFiles() {
		spec.EnvFiles[i] = d.absolute(fmt.Sprintf("%s.env_files[%d]", path, i), f)
	}
}

func (d *decoder) absolute(path, file string) string {
	switch {
	case file == "" || filepath.IsAbs(file) || strings.HasPrefix(file, "${"):
		return file
	case d.src.Base == "":
		d.faultFor(path, "%q is relative and %s has no folder: give an absolute path or --base-dir", file, d.src.Name)
		return file
	}
	return filepath.Join(d.src.Base, file)
}

// Fault makes a fault of the daemon's word on a field, at the field's place in
// the source or that of the nearest thing around it.
func (m *Manifest) Fault(path, message string, severity Severity) Fault {
	at, _ := m.d.find(path)
	f := m.d.fault(at.line, at.column, path, path+": "+message)
	f.Severity = severity
	return f
}

// Has reports whether the source declares an app.
func (m *Manifest) Has(app string) bool {
	_, ok := m.d.marks["apps."+app]
	return ok
}

// specDescriptor describes what stands under apps and defaults.
var specDescriptor = (&roostv1.AppSpec{}).ProtoReflect().Descriptor()

// isName reports the name of an app, which in a manifest is its key.
func isName(fd protoreflect.FieldDescriptor) bool {
	return fd.Parent() == specDescriptor && fd.Name() == "name"
}

// isOutput reports what only the daemon writes. It is read all the same, so that
// the daemon can refuse a spec whose hidden values would be lost.
func isOutput(fd protoreflect.FieldDescriptor) bool {
	return fd.Parent() == specDescriptor && fd.Name() == "redacted_env"
}

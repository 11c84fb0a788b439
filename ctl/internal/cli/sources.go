package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
)

const (
	manifestFile  = "roost.yaml"
	standardInput = "-"
	// A manifest is read only so far: what is longer is refused by the codec.
	maxManifest = 4<<20 + 1
)

// sources are the manifests of one apply, as one.
type sources struct {
	name   string
	specs  []*roostv1.AppSpec
	faults manifest.Faults
	files  []declaration
	paths  []string
}

// declaration is a file that declares apps: a manifest or a web.config.
type declaration interface {
	Has(app string) bool
	// Fault places a word on a field.
	Fault(field, message string, severity manifest.Severity) manifest.Fault
}

// readSources reads the manifests at paths: files, folders with a roost.yaml or
// else a web.config, or - for standard input. Relative paths in them start from
// base, or where that is empty from the manifest's own folder.
func (p *program) readSources(ctx context.Context, paths []string, base string, o importOptions) (*sources, error) {
	if base != "" {
		base = p.path(base)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &sources{}
	imports := 0
	for _, path := range paths {
		file, err := p.webConfig(path)
		if err != nil {
			return nil, err
		}
		if file != "" {
			imports++
			err = p.importFile(s, file, base, o)
		} else {
			err = p.readManifest(ctx, s, path, base)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := o.fits(imports, strings.Join(s.paths, ", ")); err != nil {
		return nil, err
	}
	s.faults.Sort()
	return s, nil
}

func (p *program) readManifest(ctx context.Context, s *sources, path, base string) error {
	src, err := p.readSource(ctx, path, base)
	if err != nil {
		return err
	}
	if slices.Contains(s.paths, src.Name) {
		return usage("%s is given twice", src.Name)
	}
	m, faults := manifest.Read(src)
	s.faults = append(s.faults, faults...)
	s.add(src.Name, m.Name, m.Specs, m)
	return nil
}

func (p *program) readSource(ctx context.Context, path, base string) (manifest.Source, error) {
	if path == standardInput {
		text, err := read(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(p.Stdin, maxManifest)) })
		return manifest.Source{Name: "standard input", Base: base, Text: text}, err
	}
	file := p.path(path)
	info, err := os.Stat(file)
	if err == nil && info.IsDir() {
		path, file = filepath.Join(path, manifestFile), filepath.Join(file, manifestFile)
	}
	text, err := readLimited(file)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest.Source{}, usage("%s does not exist: name a manifest or a web.config, or a folder that has a %s or a web.config", path, manifestFile)
	}
	if err != nil {
		return manifest.Source{}, usage("cannot read %s: %v", path, pathReason(err))
	}
	if base == "" {
		base = filepath.Dir(file)
	}
	return manifest.Source{Name: path, Base: base, Text: text}, nil
}

// read reads from standard input until ctx ends. A read of a terminal cannot be
// called off: it ends with the program.
func read[T any](ctx context.Context, from func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	got := make(chan result, 1)
	go func() {
		v, err := from()
		got <- result{v, err}
	}()
	select {
	case r := <-got:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxManifest))
}

// pathReason is an error without the path, which is said already.
func pathReason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// path makes a path absolute.
func (p *program) path(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(p.Dir, path)
}

// add takes in what a file declares. An app belongs to one file, and all have one name.
func (s *sources) add(path, name string, specs []*roostv1.AppSpec, from declaration) {
	for _, spec := range specs {
		if i := slices.IndexFunc(s.files, func(f declaration) bool { return f.Has(spec.GetName()) }); i >= 0 {
			s.faults = append(s.faults, from.Fault("apps."+spec.GetName(), "it is declared in "+s.paths[i]+" too", manifest.Error))
			continue
		}
		s.specs = append(s.specs, spec)
	}
	switch {
	case name == "":
	case s.name == "":
		s.name = name
	case s.name != name:
		s.faults = append(s.faults, from.Fault("name", fmt.Sprintf("%q differs from %q in another file: apply them one by one", name, s.name), manifest.Error))
	}
	s.files = append(s.files, from)
	s.paths = append(s.paths, path)
}

// fault places the daemon's word on a field.
func (s *sources) fault(field, message string, severity manifest.Severity) manifest.Fault {
	for _, m := range s.files {
		if declares(m, field) {
			return m.Fault(field, message, severity)
		}
	}
	return manifest.Fault{File: s.paths[0], Path: field, Message: field + ": " + message, Severity: severity}
}

// declares reports whether m has the app that a field path such as
// apps.web.listen.port is of. A name that is refused may hold dots itself.
func declares(m declaration, field string) bool {
	rest, ok := strings.CutPrefix(field, "apps.")
	if !ok {
		return false
	}
	for i := range rest {
		if (rest[i] == '.' || rest[i] == '[') && m.Has(rest[:i]) {
			return true
		}
	}
	return m.Has(rest)
}

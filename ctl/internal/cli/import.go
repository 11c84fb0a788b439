package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/webconfig"
)

// importOptions are what a web.config does not say of its app.
type importOptions struct {
	name, host, path string
	acceptLoss       []string
}

func (o importOptions) given() bool {
	return o.name != "" || o.host != "" || o.path != "" || len(o.acceptLoss) > 0
}

func (o importOptions) check() error {
	if err := webconfig.CheckLosses(o.acceptLoss); err != nil {
		return usage("--accept-loss: %v", err)
	}
	return nil
}

// fits refuses options that none, or several, of the sources would have.
func (o importOptions) fits(imports int, paths string) error {
	switch {
	case o.given() && imports == 0:
		return usage("--name, --host, --path and --accept-loss are for a web.config, and %s is none: write them into the manifest", paths)
	case (o.name != "" || o.path != "") && imports > 1:
		return usage("--name and --path are of one app, and %s are several: apply them one by one", paths)
	}
	return nil
}

// webConfig returns the web.config that a path names, itself or by its folder,
// or "" where it names a manifest.
func (p *program) webConfig(path string) (string, error) {
	if path == standardInput {
		return "", nil
	}
	file := p.path(path)
	info, err := os.Stat(file)
	switch {
	case err != nil: // told when it is read as a manifest
		return "", nil
	case !info.IsDir() && webconfig.IsFile(file):
		return path, nil
	case !info.IsDir():
		return "", nil
	}
	if _, err := os.Stat(filepath.Join(file, manifestFile)); !errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	found, err := webconfig.FindFile(os.DirFS(file))
	if err != nil {
		return "", usage("cannot import %s: %v", path, pathReason(err))
	}
	if found == "" {
		return "", nil
	}
	return filepath.Join(path, found), nil
}

// importFile takes in the app of a web.config.
func (p *program) importFile(s *sources, path, base string, o importOptions) error {
	if slices.Contains(s.paths, path) {
		return usage("%s is given twice", path)
	}
	file := p.path(path)
	text, err := readLimited(file)
	if err != nil {
		return usage("cannot read %s: %v", path, pathReason(err))
	}
	dir := filepath.Dir(file)
	if base == "" {
		base = dir
	}
	name := o.name
	if name == "" {
		if name, err = webconfig.AppName(base); err != nil {
			return usage("%s: %v", path, err)
		}
	}
	im, faults := webconfig.Read(webconfig.Source{
		Name: path, File: filepath.Base(file), Text: text, Folder: os.DirFS(dir), Dir: base,
		App: name, Host: strings.ToLower(o.host), Path: o.path, AcceptLoss: o.acceptLoss,
	})
	s.faults = append(s.faults, faults...)
	var specs []*roostv1.AppSpec
	if im.Spec != nil {
		specs = append(specs, im.Spec)
	}
	s.add(path, "", specs, im)
	return nil
}

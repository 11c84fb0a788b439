package stdoutfile

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	timeLayout = "20060102150405"
	suffix     = ".log"
	// leastShare is the part of MaxSize that a file counts as at least, so that a
	// start that writes nothing does not leave files without end.
	leastShare = 100
)

// Open are the files that a keeper's copies are writing to.
type Open struct {
	mu    sync.Mutex
	paths map[string]bool
}

func (o *Open) add(path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.paths == nil {
		o.paths = map[string]bool{}
	}
	o.paths[path] = true
}

func (o *Open) remove(path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.paths, path)
}

func (o *Open) has(path string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.paths[path]
}

// kept is a file of the prefix.
type kept struct {
	path   string
	weight int64
	time   time.Time // of its last write
	open   bool
}

// prune deletes the oldest files of the prefix until there is room for one more.
// One that is written to is not deleted, and counts as full: it may become so.
func (f Files) prune() error {
	all, err := f.list()
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b kept) int {
		return cmp.Or(a.time.Compare(b.time), compareNames(a.path, b.path))
	})
	var sum int64
	for _, k := range all {
		sum += k.weight
	}
	for _, k := range all {
		if sum <= f.MaxSize*int64(f.MaxFiles-1) {
			break
		}
		if k.open {
			continue
		}
		// One that the user may not delete is none of this app, whatever its name.
		if err := os.Remove(k.path); err == nil || errors.Is(err, fs.ErrNotExist) {
			sum -= k.weight
		}
	}
	return nil
}

// list finds the files of the prefix, of this start and others.
func (f Files) list() ([]kept, error) {
	dir, base := filepath.Split(f.Prefix)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []kept
	for _, e := range entries {
		if !isOurs(e.Name(), base) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // deleted meanwhile
		}
		k := kept{path: filepath.Join(dir, e.Name()), time: info.ModTime(), weight: max(info.Size(), f.MaxSize/leastShare)}
		if k.open = f.Open.has(k.path); k.open {
			k.weight = f.MaxSize
		}
		all = append(all, k)
	}
	return all, nil
}

// isOurs tells whether a file's name is one that a copy with this prefix has.
func isOurs(name, base string) bool {
	rest, ok := strings.CutPrefix(name, base+"_")
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, suffix); !ok {
		return false
	}
	parts := strings.Split(rest, "_")
	if len(parts) < 2 || len(parts) > 3 || len(parts[0]) != len(timeLayout) {
		return false
	}
	return !slices.ContainsFunc(parts, func(s string) bool {
		return s == "" || strings.Trim(s, "0123456789") != ""
	})
}

// compareNames orders names so that _9.log comes before _10.log.
func compareNames(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

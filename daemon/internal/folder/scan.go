package folder

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bounds on what patterns may make us look at, an app.
const (
	maxFiles = 4096
	maxDirs  = 256
)

// stamp is what a change of a file changes. Touching one changes its ctime.
type stamp struct {
	inode        uint64
	size         int64
	mode         uint32
	mtime, ctime syscall.Timespec
}

// scan is what an app's patterns lead to.
type scan struct {
	files map[string]stamp
	// dirs are the folders to be watched for it, and the patterns of the names in
	// them that matter.
	dirs map[string][]string
	full bool // there is more than we look at
}

// scanFiles looks at what patterns match below dir. Links are not followed.
func scanFiles(dir string, patterns []string) (scan, error) {
	s := scan{files: map[string]stamp{}, dirs: map[string][]string{}}
	if len(patterns) == 0 {
		return s, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return s, err
	}
	defer func() { _ = root.Close() }()
	for _, p := range patterns {
		s.walk(root, ".", strings.Split(p, "/"))
	}
	return s, nil
}

// walk looks at what the parts of a pattern match below dir.
func (s *scan) walk(root *os.Root, dir string, parts []string) {
	if _, known := s.dirs[dir]; !known && len(s.dirs) == maxDirs {
		s.full = true
		return
	}
	if !slices.Contains(s.dirs[dir], parts[0]) {
		s.dirs[dir] = append(s.dirs[dir], parts[0])
	}
	for _, name := range matches(root, dir, parts[0]) {
		at := path.Join(dir, name)
		info, err := root.Lstat(at)
		switch {
		case err != nil:
		case len(parts) > 1 && info.IsDir():
			s.walk(root, at, parts[1:])
		case len(parts) == 1 && !info.IsDir():
			s.note(at, info)
		}
	}
}

func (s *scan) note(at string, info fs.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	if len(s.files) == maxFiles {
		s.full = true
		return
	}
	s.files[at] = stamp{inode: st.Ino, size: st.Size, mode: st.Mode, mtime: st.Mtim, ctime: st.Ctim}
}

// matches returns the names in dir that a pattern's part matches.
func matches(root *os.Root, dir, part string) []string {
	if !strings.ContainsAny(part, `*?[\`) {
		return []string{part}
	}
	names, _ := list(root, dir) // one that cannot be read has nothing in it
	names = slices.DeleteFunc(names, func(name string) bool { return !match(part, name) })
	slices.Sort(names)
	return names
}

func match(part, name string) bool {
	ok, err := path.Match(part, name)
	return ok && err == nil
}

// newest returns the file that was changed last; "" where there is none.
func (s scan) newest() (file string, at time.Time) {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		changed := s.files[name].ctime
		if t := time.Unix(changed.Unix()); file == "" || t.After(at) {
			file, at = name, t
		}
	}
	return file, at
}

// changed returns the first file that differs from what it was; "" where none does.
func (s scan) changed(was map[string]stamp) string {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if was[name] != s.files[name] {
			return name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, ok := s.files[name]; !ok {
			return name
		}
	}
	return ""
}

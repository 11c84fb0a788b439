package webconfig

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"io/fs"
	"path"
	"strings"
)

// kind is what a file is to the kernel.
type kind int

const (
	kindNone  kind = iota // not there, or no file
	kindOther             // a script, say
	kindELF
	kindPE
)

// folder is the app's.
type folder struct{ fs fs.FS }

// find returns the name of a file as it is written on disk: as given, else in
// another case, for there the case did not count. "" where there is none.
func (f folder) find(name string) string {
	name = path.Clean(name)
	if !fs.ValidPath(name) || name == "." {
		return ""
	}
	if info, err := fs.Stat(f.fs, name); err == nil && !info.IsDir() {
		return name
	}
	real := "."
	for part := range strings.SplitSeq(name, "/") {
		entries, err := fs.ReadDir(f.fs, real)
		if err != nil {
			return ""
		}
		next := ""
		for _, e := range entries {
			if e.Name() == part {
				next = part
				break
			}
			if next == "" && strings.EqualFold(e.Name(), part) {
				next = e.Name()
			}
		}
		if next == "" {
			return ""
		}
		real = path.Join(real, next)
	}
	if info, err := fs.Stat(f.fs, real); err != nil || info.IsDir() {
		return ""
	}
	return real
}

// head reads the beginning of a file.
func (f folder) head(name string, n int64) []byte {
	file, err := f.fs.Open(name)
	if err != nil {
		return nil
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(file, n)) // what can be read of it
	return b
}

func (f folder) kind(name string) kind {
	if name == "" {
		return kindNone
	}
	switch b := f.head(name, 4); {
	case bytes.HasPrefix(b, []byte("\x7fELF")):
		return kindELF
	case bytes.HasPrefix(b, []byte("MZ")):
		return kindPE
	}
	return kindOther
}

// executable reports whether a file may be run at all.
func (f folder) executable(name string) bool {
	info, err := fs.Stat(f.fs, name)
	return err == nil && info.Mode()&0o111 != 0
}

// machines are the processors of a Windows program (PE format, machine types).
var machines = map[uint16]string{0x014c: "x86", 0x8664: "x64", 0xaa64: "arm64", 0x01c4: "arm"}

// windowsTarget names what a Windows program was published for.
func (f folder) windowsTarget(name string) string {
	const headerAt, machineAt = 0x3c, 4
	b := f.head(name, 4096)
	if len(b) < headerAt+4 {
		return "win-x64"
	}
	at := int64(binary.LittleEndian.Uint32(b[headerAt:])) + machineAt
	if at+2 > int64(len(b)) {
		return "win-x64"
	}
	if m, ok := machines[binary.LittleEndian.Uint16(b[at:])]; ok {
		return "win-" + m
	}
	return "win-x64"
}

// runtimeConfig says of X.runtimeconfig.json whether it is there, and whether
// the runtime is part of the app.
func (f folder) runtimeConfig(stem string) (there, selfContained bool) {
	name := f.find(stem + ".runtimeconfig.json")
	if name == "" {
		return false, false
	}
	var config struct {
		RuntimeOptions struct {
			IncludedFrameworks []json.RawMessage `json:"includedFrameworks"`
		} `json:"runtimeOptions"`
	}
	if json.Unmarshal(bytes.TrimPrefix(f.head(name, MaxText), bom8), &config) != nil {
		return true, false
	}
	return true, len(config.RuntimeOptions.IncludedFrameworks) > 0
}

// onlyApp returns the one X.dll that has an X.runtimeconfig.json, or "".
func (f folder) onlyApp() string {
	entries, err := fs.ReadDir(f.fs, ".")
	if err != nil {
		return ""
	}
	found := ""
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e.Name(), ".runtimeconfig.json")
		if !ok || f.find(stem+".dll") == "" {
			continue
		}
		if found != "" {
			return ""
		}
		found = f.find(stem + ".dll")
	}
	return found
}

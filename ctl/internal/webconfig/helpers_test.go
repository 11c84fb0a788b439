package webconfig

import (
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
)

// What files begin with.
const (
	elf    = "\x7fELF\x02\x01\x01"
	script = "#!/bin/sh\n"
	// A Windows program for x64: its header is at 0x40.
	pe64  = "MZ" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + pad48 + "\x40\x00\x00\x00" + "PE\x00\x00\x64\x86"
	pad48 = "................................................"

	needsRuntime = `{"runtimeOptions":{"frameworks":[{"name":"Microsoft.AspNetCore.App","version":"10.0.0"}]}}`
	ownRuntime   = `{"runtimeOptions":{"includedFrameworks":[{"name":"Microsoft.NETCore.App","version":"10.0.0"}]}}`
)

// folderOf makes a folder of names and contents. What begins as a program may be run.
func folderOf(files ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i := 0; i+1 < len(files); i += 2 {
		f := &fstest.MapFile{Data: []byte(files[i+1]), Mode: 0o644}
		if strings.HasPrefix(files[i+1], elf) || strings.HasPrefix(files[i+1], script) {
			f.Mode = 0o755
		}
		fs[files[i]] = f
	}
	return fs
}

// published is what dotnet publish writes beside a web.config.
func published() fstest.MapFS {
	return folderOf("App.dll", "MZ", "App.runtimeconfig.json", needsRuntime)
}

// document wraps sections of system.webServer in what publish writes around them.
func wrapped(sections string) string {
	return "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<configuration>\n<location path=\".\" inheritInChildApplications=\"false\">\n<system.webServer>\n" +
		sections + "\n</system.webServer>\n</location>\n</configuration>\n"
}

const plainApp = `<aspNetCore processPath="dotnet" arguments=".\App.dll"/>`

func source(text string, files fstest.MapFS, accept ...string) Source {
	return Source{Name: "web.config", File: "web.config", Text: []byte(text), Folder: files, Dir: "/srv/app", App: "app", AcceptLoss: accept}
}

// imported reads a text that has no error and returns the spec, which must come
// through the manifest's codec as it is, and the warnings.
func imported(t *testing.T, src Source) (*roostv1.AppSpec, manifest.Faults) {
	t.Helper()
	im, faults := Read(src)
	if faults.Refuse() || im.Spec == nil {
		t.Fatalf("not imported:\n%s\nof\n%s", faults.Error(), src.Text)
	}
	text, err := manifest.Write("", []*roostv1.AppSpec{im.Spec})
	if err != nil {
		t.Fatal(err)
	}
	back, more := manifest.Read(manifest.Source{Name: "roost.yaml", Base: "/", Text: text})
	if len(more) > 0 || len(back.Specs) != 1 || !proto.Equal(back.Specs[0], im.Spec) {
		t.Fatalf("it is not what its manifest says:\n%s\n%s", text, more.Error())
	}
	return im.Spec, faults
}

// refused reads a text that has errors and returns them all.
func refused(t *testing.T, src Source) manifest.Faults {
	t.Helper()
	_, faults := Read(src)
	if !faults.Refuse() {
		t.Fatalf("imported without an error:\n%s", src.Text)
	}
	for _, f := range faults {
		if f.Line < 1 || f.Column < 1 {
			t.Errorf("%v has no place", f)
		}
	}
	return faults
}

// wantFault looks for a fault that has a text in it.
func wantFault(t *testing.T, faults manifest.Faults, severity manifest.Severity, text string) manifest.Fault {
	t.Helper()
	for _, f := range faults {
		if f.Severity == severity && strings.Contains(f.Error(), text) {
			return f
		}
	}
	t.Fatalf("no fault says %q:\n%s", text, faults.Error())
	return manifest.Fault{}
}

// specYAML is a spec as a manifest has it.
func specYAML(t *testing.T, spec *roostv1.AppSpec) string {
	t.Helper()
	b, err := manifest.Spec(spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

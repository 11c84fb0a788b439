package webconfig

import (
	"testing"

	"google.golang.org/protobuf/proto"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/manifest"
)

// FuzzRead looks for a text that makes the reader panic, a fault without a place,
// and an import that its own manifest does not give back.
func FuzzRead(f *testing.F) {
	f.Add([]byte(ofPublish))
	f.Add([]byte("\xff\xfe<\x00a\x00/\x00>\x00"))
	for _, tt := range lossCases {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte(started(`C:\x\App.exe`, `"a\\" %A% #{b}`)))
	f.Add([]byte(app(`requestTimeout="1.00:00:00" stdoutLogEnabled="true"`, "<environmentVariables>"+variable1("PATH", "%PATH%;a")+variable1("ASPNETCORE_PORT", "5000")+"</environmentVariables>")))
	files := published()
	files["rules.config"] = folderOf("", "<rules><rule/></rules>")[""]
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, accept := range [][]string{nil, losses} {
			im, faults := Read(source(string(text), files, accept...))
			for _, fault := range faults {
				if fault.Line < 1 || fault.Column < 1 || fault.Message == "" {
					t.Fatalf("fault %+v", fault)
				}
				_ = fault.Excerpt()
			}
			if im.Spec == nil && !faults.Refuse() {
				t.Fatal("neither an app nor an error")
			}
			if im.Spec == nil || faults.Refuse() {
				continue
			}
			if len(im.Spec.GetCommand()) == 0 {
				t.Fatal("an app without a command, and no error")
			}
			written, err := manifest.Write("", []*roostv1.AppSpec{im.Spec})
			if err != nil {
				t.Fatal(err)
			}
			back, more := manifest.Read(manifest.Source{Name: "m", Base: "/", Text: written})
			if len(more) > 0 || len(back.Specs) != 1 || !proto.Equal(back.Specs[0], im.Spec) {
				t.Fatalf("%s\n%v", written, more)
			}
		}
	})
}

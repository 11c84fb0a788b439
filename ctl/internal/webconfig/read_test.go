package webconfig

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/roostd/roost/ctl/internal/manifest"
)

// As SDK 10 writes it, byte order mark included.
const ofPublish = "\ufeff" + `<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <location path="." inheritInChildApplications="false">
    <system.webServer>
      <handlers>
        <add name="aspNetCore" path="*" verb="*" modules="AspNetCoreModuleV2" resourceType="Unspecified" />
      </handlers>
      <aspNetCore processPath="dotnet" arguments=".\App.dll" stdoutLogEnabled="false" stdoutLogFile=".\logs\stdout" hostingModel="inprocess" />
    </system.webServer>
  </location>
</configuration>
<!--ProjectGuid: 0e5ba3f5-->
`

const ofPublishSpec = `command: [dotnet, ./App.dll]
dir: /srv/app
routes:
- host: shop.example.org
  path: /shop
recycle:
  max_age: 29h
  watch: [Web.config]
idle:
  after: 20m
requests:
  max_body: 30000000
preset: aspnetcore
`

func TestRead_PublishedFolder(t *testing.T) {
	src := source(ofPublish, published())
	src.File, src.Host, src.Path = "Web.config", "shop.example.org", "/shop"
	spec, faults := imported(t, src)
	if got := specYAML(t, spec); got != ofPublishSpec {
		t.Errorf("spec\n%s\nwant\n%s", got, ofPublishSpec)
	}
	if len(faults) != 1 {
		t.Errorf("faults %v, want the note on the hosting model alone", faults)
	}
	wantFault(t, faults, manifest.Warning, "web.config:8:117: warning: hostingModel inprocess: the app runs out of process here")
}

func TestRead_TextsInEveryEncoding(t *testing.T) {
	text := strings.TrimPrefix(strings.ReplaceAll(ofPublish, "<environmentVariables/>", ""), "\ufeff")
	text = strings.Replace(text, ` hostingModel="inprocess" />`, `><environmentVariables><environmentVariable name="GREETING" value="Grüße €"/></environmentVariables></aspNetCore>`, 1)
	units := utf16.Encode([]rune(text))
	little, big := []byte{}, []byte{}
	for _, u := range units {
		little, big = binary.LittleEndian.AppendUint16(little, u), binary.BigEndian.AppendUint16(big, u)
	}
	ansi := strings.NewReplacer("ü", "\xfc", "ß", "\xdf", "€", "\x80", `encoding="utf-8"`, `encoding="windows-1252"`).Replace(text)
	for name, raw := range map[string][]byte{
		"UTF-8":               []byte(text),
		"UTF-8 with a mark":   []byte("\ufeff" + text),
		"UTF-16 LE":           append([]byte{0xff, 0xfe}, little...),
		"UTF-16 BE":           append([]byte{0xfe, 0xff}, big...),
		"UTF-16 LE, unmarked": little,
		"UTF-16 BE, unmarked": big,
		"windows-1252":        []byte(ansi),
		"said to be UTF-16":   []byte(strings.Replace(text, "utf-8", "utf-16", 1)),
		"CRLF":                []byte(strings.ReplaceAll(text, "\n", "\r\n")),
	} {
		t.Run(name, func(t *testing.T) {
			src := source("", published())
			src.Text = raw
			spec, _ := imported(t, src)
			if got := spec.GetEnv()["GREETING"]; got != "Grüße €" {
				t.Errorf("GREETING=%q", got)
			}
		})
	}
}

func TestRead_MalformedFilesHaveAPlace(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"empty":             {"", "web.config:1:1: it is empty"},
		"only a comment":    {"<!-- x -->", "web.config:1:11: it is empty"},
		"not XML":           {"apps: {}", "web.config:1:1: not XML: text outside the root element"},
		"closed by another": {"<configuration>\n  <a>\n  </b>\n</configuration>", "web.config:3:3: not XML: element <a> closed by </b>"},
		"cut off":           {"<configuration>\n  <system.webServer>\n", "web.config:3:1: not XML: it ends before <system.webServer> of line 2 does"},
		"no quotes":         {"<configuration>\n<a b=c/></configuration>", "web.config:2:7: not XML: unquoted or missing attribute value in element"},
		"a bare ampersand":  {"<configuration>\n<a b=\"x&y\"/></configuration>", "web.config:2:10: not XML: invalid character entity &y (no semicolon)"},
		"unknown entity":    {"<configuration>\n<a b=\"&nbsp;\"/></configuration>", "web.config:2:13: not XML: invalid character entity &nbsp;"},
		"attribute twice":   {"<configuration>\n<a b=\"1\" b=\"2\"/></configuration>", "web.config:2:10: not XML: <a> has b twice"},
		"two roots":         {"<configuration/>\n<configuration/>", "web.config:2:1: not XML: a second root element"},
		"a document type":   {"<!DOCTYPE a [<!ENTITY b \"c\">]>\n<configuration/>", "web.config:1:1: it has a <!DOCTYPE>, which no configuration may have"},
		"another root":      {"\n<Project/>", "web.config:2:1: its root is <Project>"},
		"not UTF-8":         {"<configuration>\n  é\xff", "web.config:2:4: not UTF-8"},
		"another encoding":  {`<?xml version="1.0" encoding="shift_jis"?><configuration/>`, `web.config:1:1: its encoding "shift_jis" is not known here`},
		"half a character":  {"\xff\xfe<\x00a", "web.config:1:2: not UTF-16: half a character is at its end"},
		"half a pair":       {"\xff\xfe<\x00\x00\xd8", "web.config:1:2: not UTF-16: half of a pair is missing"},
		"too large":         {"<configuration>" + strings.Repeat(" ", MaxText), "web.config:1:1: it is larger than a web.config can be"},
		"too deep":          {strings.Repeat("<configuration>", 70), "elements lie inside one another more than 64 deep"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := refused(t, source(tt.text, published()))
			if len(faults) != 1 {
				t.Errorf("faults %v, want one", faults)
			}
			wantFault(t, faults, manifest.Error, tt.want)
		})
	}
}

func TestRead_AnAppInTheWrongCaseIsOneFault(t *testing.T) {
	faults := refused(t, source(wrapped(`<AspNetCore processPath="dotnet"/>`), published()))
	if len(faults) != 1 || !strings.Contains(faults[0].Message, "<AspNetCore> is not it: names are case-sensitive") {
		t.Errorf("faults %v, want that names are case-sensitive", faults)
	}
}

func TestRead_CaretStandsUnderTheAttribute(t *testing.T) {
	faults := refused(t, source(wrapped("\t<aspNetCore  processPath = 'dotnet'\r\n\targuments='&lt; é' rapidFailsPerMinute=\"101\"/>"), published()))
	f := wantFault(t, faults, manifest.Error, `rapidFailsPerMinute "101" is not a number from 0 to 100`)
	want := "    \targuments='&lt; é' rapidFailsPerMinute=\"101\"/>\n    \t                   ^\n"
	if got := f.Excerpt(); got != want {
		t.Errorf("excerpt\n%s\nwant\n%s", got, want)
	}
	if f.Path != "apps.app.restart.rapid_fails_per_minute" {
		t.Errorf("path %q", f.Path)
	}
}

func TestRead_ExcerptsShowNoSecret(t *testing.T) {
	const secret = "hünter2"
	text := `<configuration><appSettings><add key="k" value="` + secret + `"/></appSettings><connectionStrings><add name="n" connectionString='` + secret + `'/></connectionStrings>` +
		`<system.webServer><aspNetCore processPath="dotnet" arguments="App.dll"><environmentVariables><environmentVariable name="Db:Key" value="%OLD%` + secret + `" />` +
		`<environmentVariable name="ASPNETCORE_PORT" value="#{Port}"/></environmentVariables></aspNetCore></system.webServer></configuration>`
	faults := refused(t, source(text, published()))
	for _, f := range faults {
		if strings.Contains(f.Error()+f.Excerpt(), "nter2") {
			t.Errorf("%s\n%s", f.Error(), f.Excerpt())
		}
	}
	f := wantFault(t, faults, manifest.Error, "%OLD% is a variable")
	lines := strings.Split(f.Excerpt(), "\n")
	if at := strings.IndexByte(lines[1], '^'); !strings.HasPrefix(lines[0][at:], `value="************" />`) {
		t.Errorf("excerpt\n%s", f.Excerpt())
	}
}

func TestRead_AllFaultsAtOnce(t *testing.T) {
	faults := refused(t, source(wrapped(`<rewrite><rules><rule name="one"/><rule name="two"/></rules></rewrite>
<aspNetCore startupTimeLimit="-1" shutdownTimeLimit="601" requestTimeout="1" processesPerApplication="0" hostingModel="maybe" stdoutLogEnabled="1"/>`), published()))
	for _, text := range []string{`rule "one"`, `rule "two"`, "processPath is missing", "startupTimeLimit", "shutdownTimeLimit", "requestTimeout", "processesPerApplication", "hostingModel", "stdoutLogEnabled"} {
		wantFault(t, faults, manifest.Error, text)
	}
}

func TestRead_WithoutTheElement(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"none":            {wrapped("<staticContent/>"), "it has no <aspNetCore>, so there is no app to run"},
		"another case":    {wrapped(`<aspnetcore processPath="dotnet"/>`), "web.config:5:1: it has no <aspNetCore>, so there is no app to run: <aspnetcore> is not it: names are case-sensitive"},
		"another place":   {`<configuration><aspNetCore processPath="dotnet"/></configuration>`, "it must stand in <system.webServer>"},
		"its ancestor":    {wrapped(`<httpPlatform processPath="node"/>`), "<httpPlatform> is of another module"},
		"of another path": {`<configuration><location path="api"><system.webServer>` + plainApp + `</system.webServer></location></configuration>`, "it has no <aspNetCore>"},
	} {
		t.Run(name, func(t *testing.T) {
			src := source(tt.text, published())
			wantFault(t, refused(t, src), manifest.Error, tt.want)
			if im, _ := Read(src); im.Spec != nil || im.Has("app") {
				t.Errorf("it declares an app: %v", im.Spec)
			}
		})
	}
	wantFault(t, refused(t, source(wrapped(plainApp+"\n"+plainApp), published())), manifest.Error, "web.config:6:1: a second <aspNetCore>: line 5 has one already")
}

func TestRead_ElementWithoutALocation(t *testing.T) {
	spec, _ := imported(t, source("<configuration><system.webServer>"+plainApp+"</system.webServer></configuration>", published()))
	if got := spec.GetCommand(); len(got) != 2 || got[1] != "./App.dll" {
		t.Errorf("command %q", got)
	}
}

func TestImport_FaultStandsWhereTheFieldWasRead(t *testing.T) {
	im, _ := Read(source(wrapped("<aspNetCore\nprocessPath='dotnet'\narguments='.\\App.dll'\nprocessesPerApplication='2'/>"), published()))
	for field, line := range map[string]int{
		"apps.app.instances": 8, "apps.app.command[0]": 6, "apps.app.command": 6, "apps.app.command[1]": 7,
		"apps.app.idle.after": 5, "apps.app.routes[0].host": 5, "apps.app": 5,
	} {
		if f := im.Fault(field, "no", manifest.Warning); f.Line != line || f.Path != field || f.Message != field+": no" {
			t.Errorf("%s: %+v, want line %d", field, f, line)
		}
	}
}

func TestImport_FaultOfWhatAFlagSaysNamesTheFlag(t *testing.T) {
	src := source(wrapped(plainApp), published())
	src.Host, src.Path = "no_host", "shop"
	im, _ := Read(src)
	for field, flag := range map[string]string{
		"name": "--name", "routes[0].host": "--host", "routes[0].path": "--path", "routes[0]": "--host, --path",
	} {
		f := im.Fault("apps.app."+field, "no", manifest.Error)
		if want := flag + ": apps.app." + field + ": no"; f.Error() != want {
			t.Errorf("%s: %q, want %q", field, f.Error(), want)
		}
	}
}

func TestAppName(t *testing.T) {
	for folder, want := range map[string]string{
		"/srv/shop": "shop", "/srv/My.Site_2/": "my-site-2", "/srv/-x-": "x", "/": "", "/srv/日本": "", "/srv/" + strings.Repeat("a", 64): "",
	} {
		if got, err := AppName(folder); got != want || (err == nil) != (want != "") {
			t.Errorf("AppName(%q) = %q, %v, want %q", folder, got, err, want)
		}
	}
}

func TestFindFile(t *testing.T) {
	if got, err := FindFile(folderOf("a", "", "Web.Config", "")); got != "Web.Config" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := FindFile(folderOf("web.config.bak", "")); got != "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := FindFile(folderOf("Web.config", "", "web.config", "")); err == nil {
		t.Error("two files, and none is asked for")
	}
}

func TestRead_ALinesEndInAnAttributeIsABlank(t *testing.T) {
	spec, _ := imported(t, source(app("", "<environmentVariables>"+variable1("A", "Server=x;\r\n\tTimeout=5")+variable1("B", "1&#10;2")+"</environmentVariables>"), published()))
	if env := spec.GetEnv(); env["A"] != "Server=x;  Timeout=5" || env["B"] != "1\n2" {
		t.Errorf("env %q", env)
	}
}

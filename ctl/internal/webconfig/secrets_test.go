package webconfig

import (
	"strings"
	"testing"
)

// No fault, with its excerpt, shows a password, whatever is wrong with the file.
func TestRead_NoFaultShowsAPassword(t *testing.T) {
	variables := func(text string) string { return app("", "<environmentVariables>\n"+text+"\n</environmentVariables>") }
	for name, text := range map[string]string{
		"a bare ampersand":     variables(`<environmentVariable name="A" value="Server=x;Password=hunter&hunter;" />`),
		"a bare less-than":     variables(`<environmentVariable name="A" value="hunter<hunter" />`),
		"a quote":              variables(`<environmentVariable name="A" value="hunter"hunter" />`),
		"no quote":             variables(`<environmentVariable name="A" value=hunter />`),
		"no end of a quote":    variables(`<environmentVariable name="A" value="hunter />`),
		"the file's end":       `<configuration><environmentVariable name="A" value="hunter`,
		"over two lines":       variables("<environmentVariable name=\"A\" value=\"x\nhunter\nhunter&hunter;\" />"),
		"after another":        variables(`<environmentVariable name="A" value="&x" /> <environmentVariable name="B" value="hunter" />`),
		"what cannot be read":  variables("<environmentVariable name=\"A\" value=\"hunter\xff\" />"),
		"a path of Windows":    variables(`<environmentVariable name="A" value="C:\x.pfx;hunter" /><environmentVariable name="B" value="%B%"/>`),
		"a command line":       started("dotnet", `App.dll --Db=&quot;Server=x;Password=hunter&quot; --api-key=hunter --pwd:hunter %X%`),
		"an element's text":    wrapped("<other><value>Server=x;Password=hunter</value></other>" + plainApp),
		"an old connection":    "<configuration><connectionStrings><add connectionString='x hunter'/></connectionStrings></configuration>",
		"one that is in order": variables(`<environmentVariable name="A" value="#{X}hunter" />`),
	} {
		_, faults := Read(source(text, published()))
		if len(faults) == 0 {
			t.Errorf("%s: no fault", name)
		}
		for _, f := range faults {
			if said := f.Error() + "\n" + f.Excerpt(); strings.Contains(said, "hunter") {
				t.Errorf("%s:\n%s", name, said)
			}
		}
	}
}

package webconfig

import (
	"strings"
	"testing"

	"github.com/roostd/roost/ctl/internal/manifest"
)

func app(attributes, children string) string {
	return wrapped(`<aspNetCore processPath="dotnet" arguments=".\App.dll" ` + attributes + ">" + children + "</aspNetCore>")
}

func TestRead_Attributes(t *testing.T) {
	const absent = "-"
	for name, tt := range map[string]struct{ attributes, want string }{
		"instances":             {`processesPerApplication="4"`, "instances: 4\n"},
		"start limit":           {`startupTimeLimit="3600"`, "start:\n  timeout: 1h\n"},
		"stop limit":            {`shutdownTimeLimit=" 25 "`, "stop:\n  timeout: 25s\n"},
		"stop limit 0":          {`shutdownTimeLimit="0"`, "stop:\n  timeout: 0s\n"},
		"rapid fails":           {`rapidFailsPerMinute="0"`, "restart:\n  rapid_fails_per_minute: 0\n"},
		"request timeout":       {`requestTimeout="00:20:30"`, "requests:\n  timeout: 1230s\n"},
		"request timeout, days": {`requestTimeout="1.02:00:00"`, "requests:\n  timeout: 26h\n"},
		"request timeout, most": {`requestTimeout="360:00:00"`, "requests:\n  timeout: 360h\n"},
		"request timeout 0":     {`requestTimeout="00:00:00"`, "requests:\n  timeout: 360h\n"},
		"no error page":         {`disableStartUpErrorPage="TRUE"`, "error_page:\n  disable_startup: true\n"},
		"error page":            {`disableStartUpErrorPage="false"`, absent + "error_page"},
		"log":                   {`stdoutLogEnabled="True" stdoutLogFile=".\logs\stdout"`, "logs:\n  stdout_file: logs/stdout\n"},
		"log, default":          {`stdoutLogEnabled="true"`, "logs:\n  stdout_file: aspnetcore-stdout\n"},
		"log, off":              {`stdoutLogEnabled="false" stdoutLogFile=".\logs\stdout"`, absent + "stdout_file"},
		"log, only named":       {`stdoutLogFile=".\logs\stdout"`, absent + "stdout_file"},
		"log, Azure":            {`stdoutLogEnabled="true" stdoutLogFile="\\?\%home%\LogFiles\stdout"`, "logs:\n  stdout_file: ${HOME}/LogFiles/stdout\n"},
		"log, another drive":    {`stdoutLogEnabled="true" stdoutLogFile="E:\logs\shop"`, "logs:\n  stdout_file: logs/shop\n"},
		"log, a folder":         {`stdoutLogEnabled="true" stdoutLogFile="logs\"`, "logs:\n  stdout_file: logs/\n"},
		"model out of process":  {`hostingModel="OutOfProcess"`, "preset: aspnetcore\n"},
		"model, empty":          {`hostingModel=""`, "preset: aspnetcore\n"},
		"no Windows token":      {`forwardWindowsAuthToken="false"`, "preset: aspnetcore\n"},
		"Windows token":         {`forwardWindowsAuthToken="true"`, "preset: aspnetcore\n"},
		"locks":                 {`lockAttributes="processPath"`, "preset: aspnetcore\n"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, _ := imported(t, source(app(tt.attributes, ""), published()))
			got := specYAML(t, spec)
			if want, no := strings.CutPrefix(tt.want, absent); strings.Contains(got, want) == no {
				t.Errorf("spec\n%s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestRead_AttributesThatIISRefuses(t *testing.T) {
	for attributes, want := range map[string]string{
		`startupTimeLimit="0"`:             "startupTimeLimit 0 leaves the app no time to start",
		`startupTimeLimit="3601"`:          "from 0 to 3600",
		`shutdownTimeLimit="1.5"`:          "from 0 to 600",
		`rapidFailsPerMinute="101"`:        "from 0 to 100",
		`processesPerApplication="101"`:    "from 1 to 100",
		`processesPerApplication="0"`:      "from 1 to 100",
		`requestTimeout="120"`:             "not hours:minutes:seconds",
		`requestTimeout="360:00:01"`:       "not hours:minutes:seconds",
		`requestTimeout="00:60:00"`:        "not hours:minutes:seconds",
		`hostingModel="both"`:              "neither inprocess nor outofprocess",
		`stdoutLogEnabled="yes"`:           "neither true nor false",
		`disableStartUpErrorPage="0"`:      "neither true nor false",
		`forwardWindowsAuthToken=""`:       "neither true nor false",
		`stdoutLogFile=""`:                 "stdoutLogFile is empty",
		`startupRetryCount="3"`:            "has no attribute startupRetryCount, and IIS refuses the file: it is of <httpPlatform>",
		`shutDownTimeLimit="3"`:            "did you mean shutdownTimeLimit?",
		`rapidFailsPerMinute="#{Rapid}#"`:  "holds #{Rapid}#, which a deployment should have replaced",
		`requestTimeout="__Timeout__"`:     "holds __Timeout__",
		`stdoutLogEnabled="#{Log.Enable}"`: "holds #{Log.Enable}",
	} {
		wantFault(t, refused(t, source(app(attributes, ""), published())), manifest.Error, want)
	}
	for child, want := range map[string]string{
		`<environment/>`: "<aspNetCore> has no element environment",
		`<environmentVariables><add name="A" value="1"/></environmentVariables>`:                  "<add> cannot stand in <environmentVariables>",
		`<environmentVariables><remove name="A"/></environmentVariables>`:                         "<remove> cannot stand in <environmentVariables>",
		`<environmentVariables><environmentVariable value="1"/></environmentVariables>`:           "has no name",
		`<environmentVariables><environmentVariable name="A"/></environmentVariables>`:            "an empty one is value=\"\"",
		`<environmentVariables><environmentVariable name="A B" value=""/></environmentVariables>`: `"A B" cannot be the name of a variable`,
		`<environmentVariables><environmentVariable name="A" vaule="1"/></environmentVariables>`:  "did you mean value?",
		`<handlerSettings><add name="x" value="y"/></handlerSettings>`:                            "<add> cannot stand in <handlerSettings>",
		`<handlerSettings><handlerSetting name="x"/></handlerSettings>`:                           "needs both name and value",
		`<handlerSettings><handlerSetting name="shutdownDelay" value="-1"/></handlerSettings>`:    "shutdownDelay \"-1\" is not a number of milliseconds",
	} {
		wantFault(t, refused(t, source(app("", child), published())), manifest.Error, want)
	}
}

func TestRead_HandlerSettings(t *testing.T) {
	setting := func(name, value string) string {
		return `<handlerSettings><handlerSetting name="` + name + `" value="` + value + `"/></handlerSettings>`
	}
	for name := range settings {
		_, faults := imported(t, source(app("", setting(name, "1")), published()))
		wantFault(t, faults, manifest.Warning, "handlerSetting "+name+" has no meaning here: ")
	}
	_, faults := imported(t, source(app("", setting("whatever", "1")), published()))
	wantFault(t, faults, manifest.Warning, "handlerSetting whatever is not known")

	for value, watch := range map[string]int{"true": 0, "True": 0, "false": 1} {
		spec, faults := imported(t, source(app("", setting("disallowRotationOnConfigChange", value)), published()))
		if len(spec.GetRecycle().GetWatch()) != watch || len(faults) != 0 {
			t.Errorf("%s: watch %q, faults %v", value, spec.GetRecycle().GetWatch(), faults)
		}
	}
}

func TestRead_RecycleOnFileChange(t *testing.T) {
	spec, faults := imported(t, source(app("", `<recycleOnFileChange><file path=".\conf\app[1].json"/><file path="..\x"/><file path="C:\x"/></recycleOnFileChange>`), published()))
	if got := strings.Join(spec.GetRecycle().GetWatch(), " "); got != `web.config conf/app\[1].json` {
		t.Errorf("watch %s", got)
	}
	wantFault(t, faults, manifest.Warning, `"..\\x" is not watched`)
}

func variable1(name, value string) string {
	return `<environmentVariable name="` + name + `" value="` + value + `"/>`
}

func TestRead_Variables(t *testing.T) {
	for name, tt := range map[string]struct {
		variables string
		want      map[string]string
		warning   string
	}{
		"plain":                       {variable1("A", "1") + variable1("B", ""), map[string]string{"A": "1", "B": ""}, ""},
		"entities":                    {variable1("A", "&lt;&quot;&#228;&amp;"), map[string]string{"A": `<"ä&`}, ""},
		"dollars":                     {variable1("A", "a$b${C}$$"), map[string]string{"A": "a$$b$${C}$$$$"}, ""},
		"the last wins":               {variable1("Key", "1") + variable1("KEY", "2"), map[string]string{"KEY": "2"}, "Key and KEY are one variable in Windows"},
		"clear":                       {variable1("A", "1") + "<clear/>" + variable1("B", "2"), map[string]string{"B": "2"}, ""},
		"a colon":                     {variable1("ConnectionStrings:Db", "x"), map[string]string{"ConnectionStrings__Db": "x"}, "is named ConnectionStrings__Db here"},
		"dots":                        {variable1("Logging__LogLevel__Microsoft.AspNetCore", "x"), map[string]string{"Logging__LogLevel__Microsoft.AspNetCore": "x"}, ""},
		"another":                     {variable1("A", "%b%/x") + variable1("B", "1"), map[string]string{"A": "${B}/x", "B": "1"}, ""},
		"the port":                    {variable1("A", "http://*:%ASPNETCORE_PORT%"), map[string]string{"A": "http://*:${PORT}"}, ""},
		"home":                        {variable1("A", "%HOME%\\data"), map[string]string{"A": `${HOME}\data`}, "is a path of Windows"},
		"escapes of URLs":             {variable1("A", "a%20b%C3%A4c"), map[string]string{"A": "a%20b%C3%A4c"}, ""},
		"search path":                 {variable1("Path", `%PATH%;C:\tools;/opt/bin`), map[string]string{"PATH": "${PATH}:/opt/bin"}, `PATH goes without C:\tools`},
		"search path, all of Windows": {variable1("PATH", `C:\a;D:\b`), map[string]string{"PATH": "${PATH}"}, `C:\a and D:\b`},
		"token":                       {variable1("aspnetcore_token", "x"), nil, "ASPNETCORE_TOKEN is set for the app"},
		"path base":                   {variable1("ASPNETCORE_APPL_PATH", "/x"), nil, "ASPNETCORE_APPL_PATH is set for the app"},
		"auth":                        {variable1("ASPNETCORE_IIS_HTTPAUTH", "x"), nil, "ASPNETCORE_IIS_HTTPAUTH is set for the app"},
		"web sockets":                 {variable1("ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED", "false"), nil, "<webSocket enabled"},
		"our port":                    {variable1("PORT", "80"), nil, "ASPNETCORE_PORT fixes a port"},
		"ours":                        {variable1("ROOST_APP", "x"), nil, "are Roost's own"},
		"the module's":                {variable1("ANCM_shutdownDelay", "0"), nil, "option of the module"},
		"start-up":                    {variable1("ASPNETCORE_HOSTINGSTARTUPASSEMBLIES", "X"), map[string]string{"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": "X"}, ""},
		"https port":                  {variable1("ASPNETCORE_ANCM_HTTPS_PORT", "443"), map[string]string{"ASPNETCORE_ANCM_HTTPS_PORT": "443"}, ""},
		"a path from the folder":      {variable1("DATA", `..\data`), map[string]string{"DATA": `..\data`}, "is a path of Windows"},
		"no path":                     {variable1("LOGIN", `.NET\x`), map[string]string{"LOGIN": `.NET\x`}, ""},
		"a Windows path":              {variable1("DATA", `C:\data`), map[string]string{"DATA": `C:\data`}, "is a path of Windows"},
		"a Windows login":             {variable1("DB", "Server=x;Trusted_Connection=True"), map[string]string{"DB": "Server=x;Trusted_Connection=True"}, "needs a keytab"},
		"addresses":                   {variable1("ASPNETCORE_URLS", "http://*:5000"), map[string]string{"ASPNETCORE_URLS": "http://*:5000"}, "does not name the app's port"},
		"an empty port":               {variable1("ASPNETCORE_PORT", ""), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			spec, faults := imported(t, source(app("", "<environmentVariables>"+tt.variables+"</environmentVariables>"), published()))
			if len(spec.GetEnv()) != len(tt.want) || spec.GetListen() != nil {
				t.Errorf("env %q, want %q", spec.GetEnv(), tt.want)
			}
			for k, v := range tt.want {
				if got, ok := spec.GetEnv()[k]; !ok || got != v {
					t.Errorf("%s=%q, want %q", k, got, v)
				}
			}
			if tt.warning != "" {
				wantFault(t, faults, manifest.Warning, tt.warning)
			} else if len(faults) > 0 {
				t.Errorf("faults %v", faults)
			}
		})
	}
}

func TestRead_FixedPort(t *testing.T) {
	with := func(port, attributes string) string {
		return app(attributes, "<environmentVariables>"+variable1("aspnetcore_port", port)+"</environmentVariables>")
	}
	for _, port := range []string{"1025", "48000"} {
		spec, _ := imported(t, source(with(port, ""), published()))
		if got := specYAML(t, spec); !strings.Contains(got, "listen:\n  port: "+port+"\n") || !strings.Contains(got, "overlap: false") || strings.Contains(got, "env:") {
			t.Errorf("spec\n%s", got)
		}
	}
	for _, port := range []string{"1024", "48001", "noninteger", "-1"} {
		wantFault(t, refused(t, source(with(port, ""), published())), manifest.Error, "is not a port from 1025 to 48000")
	}
	wantFault(t, refused(t, source(with("5000", `processesPerApplication="2"`), published())), manifest.Error, "they cannot share it")
}

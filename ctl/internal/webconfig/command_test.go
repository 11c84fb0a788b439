package webconfig

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/roostd/roost/ctl/internal/manifest"
)

func started(program, arguments string) string {
	escape := strings.NewReplacer("&", "&amp;", `"`, "&quot;", "<", "&lt;").Replace
	return wrapped(`<aspNetCore processPath="` + escape(program) + `" arguments="` + escape(arguments) + `"/>`)
}

func TestRead_Command(t *testing.T) {
	hosted := folderOf("App.dll", "MZ", "App.exe", pe64, "App.runtimeconfig.json", needsRuntime)
	for name, tt := range map[string]struct {
		program, arguments string
		files              fstest.MapFS
		want               string // joined by |
		warning            string
	}{
		"as published":          {"dotnet", `.\App.dll`, nil, "dotnet|./App.dll", ""},
		"with its ending":       {"DOTNET.EXE", "App.dll", nil, "dotnet|App.dll", ""},
		"its usual folder":      {`C:\Program Files\dotnet\dotnet.exe`, "App.dll", nil, "dotnet|App.dll", ""},
		"of a variable":         {`%ProgramFiles%\dotnet\dotnet.exe`, "App.dll", nil, "dotnet|App.dll", ""},
		"Azure's":               {`%DOTNET_ROOT%\dotnet.exe`, `%HOME%\site\wwwroot\App.dll`, nil, "dotnet|./App.dll", ""},
		"Azure's drive":         {"dotnet", `D:\home\site\wwwroot\App.dll --urls x`, nil, "dotnet|./App.dll|--urls|x", ""},
		"a Linux dotnet":        {"/usr/lib/dotnet/dotnet", "App.dll", nil, "/usr/lib/dotnet/dotnet|App.dll", ""},
		"another case":          {"dotnet", `.\app.DLL`, nil, "dotnet|./App.dll", "app.DLL is App.dll on disk"},
		"not there":             {"dotnet", `.\Other.dll`, nil, "dotnet|./Other.dll", "Other.dll is not in the folder"},
		"exec":                  {"dotnet", `exec --runtimeconfig .\App.runtimeconfig.json .\App.dll`, nil, "dotnet|exec|--runtimeconfig|./App.runtimeconfig.json|./App.dll", ""},
		"an old folder":         {"dotnet", `C:\inetpub\app\App.dll`, nil, "dotnet|App.dll", "a path of the old machine"},
		"quotes":                {"dotnet", `".\App.dll" "a b" \"c\" "" --dir=.\data DOMAIN\user`, nil, `dotnet|./App.dll|a b|"c"||--dir=./data|DOMAIN\user`, ""},
		"the port":              {"dotnet", `App.dll --urls http://*:%ASPNETCORE_PORT%`, nil, "dotnet|App.dll|--urls|http://*:${PORT}", ""},
		"a dollar":              {"dotnet", `App.dll $HOME ${X}`, nil, "dotnet|App.dll|$$HOME|$${X}", ""},
		"no arguments":          {"dotnet", "", nil, "dotnet", ""},
		"quoted program":        {`"dotnet"`, "App.dll", nil, "dotnet|App.dll", ""},
		"a host of a dll":       {`.\App.exe`, "--x 1", hosted, "dotnet|App.dll|--x|1", ""},
		"a host, bare":          {"App.exe", "", hosted, "dotnet|App.dll", ""},
		"a host, another case":  {`.\app.exe`, "", hosted, "dotnet|App.dll", "app.dll is App.dll on disk"},
		"a host, old folder":    {`C:\inetpub\app\App.exe`, "", hosted, "dotnet|App.dll", "App.exe of this folder is taken"},
		"a host that is gone":   {`.\App.exe`, "", published(), "dotnet|App.dll", ""},
		"a Linux host":          {`.\App.exe`, "", folderOf("App", elf, "App.dll", "MZ", "App.runtimeconfig.json", ownRuntime), "./App", ""},
		"a Linux host by name":  {`.\App`, "", folderOf("App", elf, "App.dll", "MZ", "App.runtimeconfig.json", needsRuntime), "./App", ""},
		"a Linux host below":    {`bin\App`, "", folderOf("bin/App", elf), "./bin/App", ""},
		"a name in the folder":  {"serve.sh", "", folderOf("serve.sh", script), "./serve.sh", ""},
		"not executable":        {"serve.sh", "", folderOf("serve.sh", "#!"), "./serve.sh", "chmod +x serve.sh"},
		"a name of PATH":        {"node.exe", "server.js", folderOf("server.js", ""), "node|server.js", ""},
		"a path, not there":     {`bin\serve`, "", nil, "./bin/serve", "is not in the folder"},
		"dotnet of the folder":  {`.\dotnet\dotnet.exe`, "App.dll", folderOf("dotnet/dotnet", elf, "App.dll", "MZ"), "./dotnet/dotnet|App.dll", ""},
		"dotnet of a folder no": {`.\dotnet\dotnet.exe`, "App.dll", nil, "dotnet|App.dll", "looked up in the app's PATH"},
		"a folder in UTF":       {"dotnet", `".\bin ü\App.dll"`, folderOf("bin ü/App.dll", "MZ"), "dotnet|./bin ü/App.dll", ""},
		"a file below":          {"dotnet", `App.dll --config=conf\app.json /log:logs\ --who CORP\ann.name --re a\d+`, nil, `dotnet|App.dll|--config=conf/app.json|/log:logs/|--who|CORP\ann.name|--re|a\d+`, `--config=conf\app.json is taken for a path: --config=conf/app.json`},
		"another path":          {"dotnet", `App.dll C:\data\x`, nil, `dotnet|App.dll|C:\data\x`, "is a path of Windows"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.files == nil {
				tt.files = published()
			}
			spec, faults := imported(t, source(started(tt.program, tt.arguments), tt.files))
			if got := strings.Join(spec.GetCommand(), "|"); got != tt.want {
				t.Errorf("command %s, want %s", got, tt.want)
			}
			if tt.warning != "" {
				wantFault(t, faults, manifest.Warning, tt.warning)
			} else if len(faults) > 0 {
				t.Errorf("faults %v", faults)
			}
		})
	}
}

func TestRead_CommandsThatCannotRun(t *testing.T) {
	for name, tt := range map[string]struct {
		program, arguments string
		files              fstest.MapFS
		want               string
	}{
		"missing":             {" ", "App.dll", published(), "processPath is missing"},
		"own runtime":         {`.\App.exe`, "", folderOf("App.exe", pe64, "App.dll", "MZ", "App.runtimeconfig.json", ownRuntime), "published for win-x64: republish for linux-x64"},
		"one file":            {`.\App.exe`, "", folderOf("App.exe", pe64), "published for win-x64: republish for linux-x64"},
		"one file, arm64":     {`.\App.exe`, "", folderOf("App.exe", strings.ReplaceAll(pe64, "\x64\x86", "\x64\xaa")), "published for win-arm64: republish for linux-arm64"},
		"own runtime, no exe": {`.\App.exe`, "", folderOf("App.dll", "MZ", "App.runtimeconfig.json", ownRuntime), "published for win-x64"},
		"a dll of its own":    {"dotnet", "App.dll", folderOf("App.dll", "MZ", "App.runtimeconfig.json", ownRuntime), "published for win-x64"},
		"a dll of a host":     {"dotnet", "App.dll", folderOf("App", elf, "App.dll", "MZ", "App.runtimeconfig.json", ownRuntime), `write processPath=".\App"`},
		"nothing there":       {`.\App.exe`, "", folderOf(), "the folder has neither App.dll with its runtimeconfig.json nor App for Linux"},
		"another folder":      {`C:\app\App.exe`, "", folderOf(), "is a path of Windows, and this folder has no App.exe"},
		"a script":            {"run.cmd", "", folderOf(), "is a script of Windows"},
		"a shell":             {"cmd.exe", "/c run", folderOf(), "is a script of Windows"},
		"a dll elsewhere":     {"dotnet", `C:\app\Other.dll`, published(), "is a path of Windows, and this folder has no Other.dll"},
	} {
		t.Run(name, func(t *testing.T) {
			f := wantFault(t, refused(t, source(started(tt.program, tt.arguments), tt.files)), manifest.Error, tt.want)
			if f.Path != "apps.app.command" {
				t.Errorf("path %q: the daemon's word on a missing command would be an echo", f.Path)
			}
		})
	}
}

func TestRead_PlaceholdersOfAnIDE(t *testing.T) {
	for _, text := range []string{
		started("%LAUNCHER_PATH%", "%LAUNCHER_ARGS%"),
		started("dotnet", "%launcher_args%"),
		started(`C:\Program Files\IISExeLauncher.exe`, `-argFile IISExeLauncherArgs.txt`),
	} {
		f := wantFault(t, refused(t, source(text, published())), manifest.Error, "this file was never published")
		if !strings.HasSuffix(f.Message, "--accept-loss=tokens") {
			t.Errorf("message %s", f.Message)
		}
		spec, _ := imported(t, source(text, published(), "tokens"))
		if got := strings.Join(spec.GetCommand(), " "); got != "dotnet App.dll" {
			t.Errorf("command %s", got)
		}
		wantFault(t, refused(t, source(text, folderOf(), "tokens")), manifest.Error, "which program the app is cannot be seen")
	}
}

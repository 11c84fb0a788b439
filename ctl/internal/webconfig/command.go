package webconfig

import (
	"path"
	"regexp"
	"strings"
)

var (
	launcher    = regexp.MustCompile(`(?i)%LAUNCHER_(PATH|ARGS)%|IISExeLauncher`)
	azureFolder = regexp.MustCompile(`(?i)(?:%home%|[cd]:[\\/]home)[\\/]site[\\/]wwwroot[\\/]`)
	shellScript = regexp.MustCompile(`(?i)(^|/)(cmd|powershell|pwsh|cscript|wscript)(\.exe)?$|\.(cmd|bat|ps1|vbs|com)$`)
)

const dotnet = "dotnet"

// command makes the argv of processPath and arguments.
func (r *reader) command(e *element) {
	program, arguments := e.attr("processPath"), e.attr("arguments")
	if program == nil || strings.TrimSpace(program.value) == "" {
		at := e.place
		if program != nil {
			at = program.place
		}
		if !r.encryptedAttribute(e, "processPath") {
			r.error(at, "command", "processPath is missing: it is the program that runs the app, dotnet for most")
		}
		return
	}
	r.mark("command", program.place)
	for _, a := range []*attribute{program, arguments} {
		if a != nil && launcher.MatchString(a.value) {
			r.placeholder(a)
			return
		}
	}
	r.token(program, "command")
	argv := r.program(program)
	if argv == nil {
		return
	}
	r.spec.Command = argv
	if arguments != nil {
		r.token(arguments, "command")
		r.mark("command[1]", arguments.place)
		r.spec.Command = append(r.spec.Command, r.arguments(arguments, argv[0] == dotnet && len(argv) == 1)...)
	}
}

func (r *reader) encryptedAttribute(e *element, name string) bool {
	for _, a := range e.attrs {
		if a.name == name && a.prefix == "encrypted" {
			return true
		}
	}
	return false
}

// placeholder reports what an IDE fills in, and with the user's word takes the
// one app that lies in the folder.
func (r *reader) placeholder(a *attribute) {
	if !r.loss(lossTokens, a.place, "command", "%s holds what only Visual Studio fills in (%s): this file was never published; import what dotnet publish writes",
		a.name, launcher.FindString(a.value)) {
		return
	}
	dll := (folder{r.src.Folder}).onlyApp()
	if dll == "" {
		r.error(a.place, "command", "which program the app is cannot be seen: the folder has not exactly one X.dll with an X.runtimeconfig.json")
		return
	}
	r.spec.Command = []string{dotnet, escape(dll)}
}

// program finds what processPath means here: the program, and what must come
// before the arguments. nil where it cannot run.
func (r *reader) program(a *attribute) []string {
	raw := strings.Trim(strings.TrimSpace(a.value), `"`)
	raw = strings.TrimPrefix(raw, `\\?\`)
	raw = azureFolder.ReplaceAllLiteralString(raw, `.\`)
	p := slashes(raw)
	base := path.Base(p)
	away := hasDrive(p) || strings.HasPrefix(p, "//") || strings.HasPrefix(p, "%")
	f := folder{r.src.Folder}
	switch {
	case away && isDotnet(base):
		return []string{dotnet}
	case away && r.beside(f, base):
		r.warn(a.place, "processPath %s is a path of the old machine: %s of this folder is taken", a.value, base)
		return r.local(a, base, true)
	case strings.HasPrefix(p, "%"):
		expanded := r.expand(&attribute{name: a.name, value: p, place: a.place}, "command", "")
		return []string{expanded}
	case away:
		r.error(a.place, "command", "processPath %s is a path of Windows, and this folder has no %s: write the program as it is named here", a.value, base)
		return nil
	case strings.HasPrefix(p, "/"):
		return []string{r.expand(&attribute{name: a.name, value: p, place: a.place}, "command", "")}
	case strings.Contains(p, "%"):
		return []string{r.expand(&attribute{name: a.name, value: p, place: a.place}, "command", "")}
	}
	return r.local(a, p, strings.Contains(p, "/"))
}

func isDotnet(base string) bool {
	return strings.EqualFold(base, "dotnet.exe") || strings.EqualFold(base, dotnet)
}

// beside reports whether the folder has a program of a name, in one of the forms
// that local knows.
func (r *reader) beside(f folder, name string) bool {
	stem, _ := cutExe(name)
	return f.find(name) != "" || f.find(stem) != "" || f.find(stem+".dll") != ""
}

func cutExe(name string) (stem string, had bool) {
	if ext := path.Ext(name); strings.EqualFold(ext, ".exe") {
		return strings.TrimSuffix(name, ext), true
	}
	return name, false
}

// local finds a program below the folder. Where the path is a bare name and
// nothing here has it, PATH is searched, as the module does.
func (r *reader) local(a *attribute, p string, inFolder bool) []string {
	f := folder{r.src.Folder}
	p = path.Clean(p)
	stem, isExe := cutExe(p)
	there, self := f.runtimeConfig(stem)
	dll, host := f.find(stem+".dll"), f.find(stem)
	exe := f.find(stem + ".exe")
	switch {
	case !isExe && host != "" && f.kind(host) != kindPE:
		return r.run(a, f, stem, host)
	case there && !self && dll != "":
		r.spelling(a, stem+".dll", dll)
		return []string{dotnet, escape(dll)}
	case host != "" && f.kind(host) == kindELF:
		return r.run(a, f, stem, host)
	case host != "" && f.kind(host) == kindPE, exe != "", there && self:
		r.publishedForWindows(a, f, exe)
		return nil
	case isDotnet(path.Base(p)):
		if inFolder {
			r.warn(a.place, "processPath %s is not in the folder: dotnet is looked up in the app's PATH", a.value)
		}
		return []string{dotnet}
	case shellScript.MatchString(p):
		r.error(a.place, "command", "processPath %s is a script of Windows: name the program that it starts", a.value)
		return nil
	case !inFolder:
		return []string{escape(stem)}
	case isExe:
		r.error(a.place, "command", "processPath %s is a Windows program, and the folder has neither %s.dll with its runtimeconfig.json nor %s for Linux: import the folder that dotnet publish wrote",
			a.value, stem, stem)
		return nil
	case strings.HasPrefix(p, "../"):
		return []string{escape(p)}
	}
	r.warn(a.place, "processPath %s is not in the folder: the start will fail", a.value)
	return []string{"./" + escape(p)}
}

// run is a file of the folder as the program.
func (r *reader) run(a *attribute, f folder, asked, file string) []string {
	r.spelling(a, asked, file)
	if !f.executable(file) {
		r.warn(a.place, "%s is not executable: chmod +x %s", file, file)
	}
	return []string{"./" + escape(file)}
}

func (r *reader) publishedForWindows(a *attribute, f folder, exe string) {
	target := "win-x64"
	if exe != "" {
		target = f.windowsTarget(exe)
	}
	linux := strings.Replace(target, "win-", "linux-", 1)
	if target == "win-x86" { // .NET has no 32-bit Linux on Intel
		linux = "linux-x64"
	}
	r.error(a.place, "command", "the app was published for %s: republish for %s (dotnet publish -r %s), or without -r, and run it with dotnet", target, linux, linux)
}

// spelling tells that a name is written in another case on disk.
func (r *reader) spelling(a *attribute, asked, real string) {
	if path.Clean(asked) != real {
		r.warn(a.place, "%s is %s on disk, and here the case counts: taken as it is on disk", path.Clean(asked), real)
	}
}

// arguments splits the arguments as Windows does. The first .dll behind dotnet is
// the app.
func (r *reader) arguments(a *attribute, ofDotnet bool) []string {
	plain := azureFolder.ReplaceAllLiteralString(a.value, `.\`)
	words := splitArguments(r.expand(&attribute{name: a.name, value: plain, place: a.place}, "command", ""))
	for i, w := range words {
		if ofDotnet && strings.EqualFold(path.Ext(slashes(w)), ".dll") {
			words[i] = r.assembly(a, w)
			ofDotnet = false
			continue
		}
		words[i] = r.argument(a, w)
	}
	return words
}

// assembly is the app's own file.
func (r *reader) assembly(a *attribute, word string) string {
	f := folder{r.src.Folder}
	p := strings.TrimPrefix(slashes(word), "//?/")
	if hasDrive(p) || strings.HasPrefix(p, "//") {
		base := path.Base(p)
		if f.find(unescape(base)) == "" {
			r.error(a.place, "command", "%s is a path of Windows, and this folder has no %s: write it relative to the app's folder", word, base)
			return p
		}
		r.warn(a.place, "%s is a path of the old machine: %s of this folder is taken", word, base)
		p = base
	}
	asked := unescape(p)
	if strings.HasPrefix(p, "/") || strings.Contains(p, "${") || strings.HasPrefix(path.Clean(p), "../") {
		return p
	}
	file := f.find(asked)
	if file == "" {
		r.warn(a.place, "%s is not in the folder: the start will fail", asked)
		return p
	}
	stem := strings.TrimSuffix(file, path.Ext(file))
	if _, self := f.runtimeConfig(stem); self && f.kind(f.find(stem)) == kindELF {
		r.error(a.place, "command", "%s was published with its own runtime, which dotnet does not run: write processPath=\"%s\" without it in the arguments", file, `.\`+stem)
	} else if self {
		r.publishedForWindows(a, f, f.find(stem+".exe"))
	}
	r.spelling(a, asked, file)
	if strings.HasPrefix(p, "./") {
		return "./" + escape(file)
	}
	return escape(file)
}

var (
	// option is what may stand before a path: --config=, /log:
	option       = regexp.MustCompile(`^(?:[-/]{0,2}[A-Za-z0-9_.-]+=|[-/]{1,2}[A-Za-z0-9_.-]+:)`)
	relativePath = regexp.MustCompile(`^\.{1,2}\\`)
	// fileBelow is a name of a file in a folder. DOMAIN\user is none.
	fileBelow = regexp.MustCompile(`(?i)^[^\\/:]+(\\[^\\/:]+)*\\([^\\/:]+\.(json|xml|config|dll|exe|txt|log|pfx|pem|cer|crt|key|db|sqlite|ya?ml|ini|csv|html?|sh|js))?$`)
)

// argument turns the separators of what is a path below the folder, and leaves
// everything else as it is.
func (r *reader) argument(a *attribute, word string) string {
	if !strings.Contains(word, `\`) {
		return word
	}
	before := option.FindString(word)
	value := word[len(before):]
	turned := slashes(value)
	switch {
	case relativePath.MatchString(value), (folder{r.src.Folder}).find(unescape(turned)) != "":
		return before + turned
	case fileBelow.MatchString(value):
		r.warn(a.place, "argument %s is taken for a path: %s", word, before+turned)
		return before + turned
	case isWindowsPath(value):
		r.warn(a.place, "argument %s is a path of Windows: change it", word)
	}
	return word
}

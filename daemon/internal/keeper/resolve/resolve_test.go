package resolve

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func writeFile(t *testing.T, path, text string, perm os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil {
		t.Fatal(err)
	}
	return path
}

func testAccounts(t *testing.T) Accounts {
	t.Helper()
	dir := t.TempDir()
	return Accounts{
		PasswdFile: writeFile(t, filepath.Join(dir, "passwd"), "root:x:0:0:root:/root:/bin/bash\n#c:x:1:1::/:/\nbroken\nweb:x:500:501:Web:/home/web:/bin/zsh\n77:x:600:600::/:\nroost-app:x:700:700::/nonexistent:/usr/sbin/nologin\n", 0o644),
		GroupFile:  writeFile(t, filepath.Join(dir, "group"), "root:x:0:\nweb:x:501:\nmedia:x:800:alice,web\nwebs:x:801:website\n", 0o644),
	}
}

func TestAccounts_NamesWinOverNumbers(t *testing.T) {
	a := testAccounts(t)
	for name, uid := range map[string]int{"web": 500, "500": 500, "77": 600, "root": 0} {
		if u, err := a.User(name); err != nil || u.UID != uid {
			t.Errorf("user %s = %+v, %v, want uid %d", name, u, err, uid)
		}
	}
	if _, err := a.User("nobody"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("an unknown user: %v", err)
	}
	u, _ := a.User("web")
	if groups, err := a.Groups(u); err != nil || !slices.Equal(groups, []int{501, 800}) {
		t.Errorf("groups %v, %v, want 501 and 800, and none of a name that only begins so", groups, err)
	}
}

func TestHost_Identity(t *testing.T) {
	a := testAccounts(t)
	root := Host{Accounts: a, AppUser: "roost-app"}
	web := Host{Accounts: a, UID: 500, GID: 501, AppUser: "roost-app"}
	for name, tt := range map[string]struct {
		host        Host
		user, group string
		want        string // name, or the error
		gid         int
		groups      []int
		root        bool
	}{
		"root, nobody named":        {root, "", "", "roost-app", 700, []int{700}, false},
		"root, no such app user":    {Host{Accounts: a, AppUser: "none"}, "", "", "root", 0, []int{0}, true},
		"root, root named":          {root, "root", "", "root", 0, []int{0}, false},
		"root, a user":              {root, "web", "", "web", 501, []int{501, 800}, false},
		"root, a user and a group":  {root, "web", "media", "web", 800, []int{800}, false},
		"root, a number":            {root, "500", "", "web", 501, []int{501, 800}, false},
		"no root, itself":           {web, "", "", "web", 501, []int{501, 800}, false},
		"no root, itself by name":   {web, "web", "web", "web", 501, []int{501}, false},
		"no root, another":          {web, "root", "", "no root daemon", 0, nil, false},
		"no root, another group":    {web, "", "media", "no root daemon", 0, nil, false},
		"no such user":              {root, "none", "", `user "none" does not exist`, 0, nil, false},
		"no such group":             {root, "web", "none", `group "none" does not exist`, 0, nil, false},
		"a uid without an account":  {Host{Accounts: a, UID: 4711, GID: 4712}, "", "", "4711", 4712, []int{4712}, false},
		"a number without an entry": {root, "4711", "", `user "4711" does not exist`, 0, nil, false},
	} {
		id, err := tt.host.Identity(app.Spec{User: tt.user, Group: tt.group})
		if err != nil {
			if tt.groups != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", name, err, tt.want)
			}
			continue
		}
		if id.Name != tt.want || id.GID != tt.gid || !slices.Equal(id.Groups, tt.groups) || id.Root != tt.root || id.Switch != (tt.host.UID == 0) {
			t.Errorf("%s: %+v", name, id)
		}
	}
}

func TestHost_HomeThatCannotBeUsed(t *testing.T) {
	state := t.TempDir()
	h := Host{StateDir: state}
	id := Identity{User: User{UID: os.Getuid(), Home: state}, Groups: []int{os.Getgid()}}
	if home, own := h.Home("web", id); home != state || own {
		t.Errorf("home %s, %v, want the account's", home, own)
	}
	id.Home = "/nonexistent"
	home, own := h.Home("web", id)
	if home != filepath.Join(state, "apps", "web", "home") || !own {
		t.Fatalf("home %s, %v, want one of the state dir", home, own)
	}
	if err := h.MakeHome(home, id); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(home); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("home: %v, %v, want 0700", info, err)
	}
}

func TestLayers_Compose(t *testing.T) {
	l := Layers{
		Base:  map[string]string{"PATH": "/bin", "HOME": "/h", "LANG": "C"},
		Files: map[string]string{"KEY": "k1", "LANG": "de", "RAW": "${HOME}", "ROOST_APP": "evil"},
		Spec: map[string]string{
			"PATH": "/opt:${PATH}", "URL": "http://127.0.0.1:${PORT}/${NAME}", "NAME": "n$$", "DSN": "x:${KEY}", "LANG": "${LANG}-1", "PORT": "1",
		},
		Own:       map[string]string{"PORT": "20001", "ROOST_APP": "web", "ROOST_TOKEN": "t"},
		OwnSecret: []string{"ROOST_TOKEN"},
	}
	env, err := l.Compose()
	if err != nil {
		t.Fatal(err)
	}
	want := "DSN=x:k1 HOME=/h KEY=k1 LANG=de-1 NAME=n$ PATH=/opt:/bin PORT=20001 RAW=${HOME} ROOST_APP=web ROOST_TOKEN=t URL=http://127.0.0.1:20001/n$"
	if got := strings.Join(env.List(), " "); got != want {
		t.Errorf("environment\n%s, want\n%s", got, want)
	}
	for _, name := range []string{"KEY", "RAW", "DSN", "LANG", "ROOST_TOKEN"} {
		if !env.Secret[name] {
			t.Errorf("%s is not secret", name)
		}
	}
	for _, name := range []string{"PATH", "URL", "NAME", "HOME", "ROOST_APP", "PORT"} {
		if env.Secret[name] {
			t.Errorf("%s is secret", name)
		}
	}
}

func TestLayers_ComposeFaults(t *testing.T) {
	for want, spec := range map[string]map[string]string{
		"name each other":      {"A": "${B}", "B": "${A}"},
		"env.A: ${A} is not":   {"A": "${A}"},
		"env.A: ${NOPE} is no": {"A": "${NOPE}"},
		"without }":            {"A": "${B"},
	} {
		if env, err := (Layers{Spec: spec}).Compose(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, %v, want %q", spec, env, err, want)
		}
	}
}

func TestParseEnvFile(t *testing.T) {
	const text = "\ufeff# comment\n\nA=1\r\n export B = two words \nexport C=\"a\\n\\\"b\\$\" # why\nD='$x #'\nE=\nF=a=b\n"
	got, err := ParseEnvFile(text)
	want := map[string]string{"A": "1", "B": "two words", "C": "a\n\"b$", "D": "$x #", "E": "", "F": "a=b"}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%q, %v, want %q", got, err, want)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %q, want %q", k, got[k], v)
		}
	}
	for _, bad := range []string{"A", "1A=x", "A=\"x", "A='x' y", "=x", "A=\"x\\", "A=a\x00b"} {
		if vars, err := ParseEnvFile("OK=1\n" + bad); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%q: %q, %v, want a fault in line 2", bad, vars, err)
		}
	}
}

func FuzzParseEnvFile(f *testing.F) {
	f.Add("A=1\nexport B=\"x\\n\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		vars, err := ParseEnvFile(text)
		for name, value := range vars {
			if err != nil || !variableName.MatchString(name) || strings.Contains(value, "\x00") {
				t.Errorf("%q: %q = %q, %v", text, name, value, err)
			}
		}
	})
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bin", "tool"), "#!/bin/sh\n", 0o755)
	writeFile(t, filepath.Join(dir, "plain", "tool"), "text", 0o644)
	env := map[string]string{"PATH": "plain:bin", "PORT": "1", "KEY": "k"}
	tool := filepath.Join(dir, "bin", "tool")
	for _, name := range []string{"tool", "./bin/tool", "bin/../bin/tool", tool} {
		c, err := Lookup([]string{name, "-p${PORT}", "$$"}, dir, env, []string{"KEY"})
		if err != nil || c.Path != tool || !slices.Equal(c.Argv, []string{name, "-p1", "$"}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for name, want := range map[string]string{
		"nothing": "was not found on the app's PATH (plain:bin)", "./tool": "does not exist", "bin": "was not found",
		"./bin": "is a directory", "plain/tool": "is not executable", "": "the command is empty", "${KEY}": "is secret", "${X}": "is not set",
	} {
		if c, err := Lookup([]string{name}, dir, env, []string{"KEY"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %q", name, c, err, want)
		}
	}
	env["PATH"] = "plain"
	if _, err := Lookup([]string{"tool"}, dir, env, nil); err == nil || !strings.Contains(err.Error(), "is not executable") {
		t.Errorf("what is there and cannot be executed: %v", err)
	}
}

func TestLookup_ResolvesShims(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	const shim = "#!/usr/bin/env bash\nexec \"/x/pyenv\" exec \"python3\" \"$@\"\n"
	at := filepath.Join(root, "shims", "python3")
	writeFile(t, at, strings.Replace(shim, "exec \"/x/pyenv\" exec", "program\nexec /x/pyenv exec", 1), 0o755)
	three, four := filepath.Join(root, "versions/3.0/bin/python3"), filepath.Join(root, "versions/4.0/bin/python3")
	writeFile(t, three, "", 0o755)
	writeFile(t, four, "", 0o755)
	env := map[string]string{"PATH": filepath.Join(root, "shims")}
	check := func(when, want string) {
		t.Helper()
		c, err := Lookup([]string{"python3"}, filepath.Join(dir, "sub"), env, nil)
		if err != nil || c.Path != want {
			t.Errorf("%s: %s, %v, want %s", when, c.Path, err, want)
		}
		if want != at && c.Argv[0] != want {
			t.Errorf("%s: called as %s", when, c.Argv[0])
		}
	}
	check("no version anywhere", at)
	writeFile(t, filepath.Join(root, "version"), "3.0\n", 0o644)
	check("the global version", three)
	writeFile(t, filepath.Join(dir, ".python-version"), "# ours\n5.0\n4.0 # or this\n", 0o644)
	check("a file above the folder", four)
	env["PYENV_VERSION"] = "3.0"
	check("the variable", three)
	env["PYENV_VERSION"] = "system"
	check("the system's", at)
	env["PYENV_VERSION"] = "../../evil"
	check("no name of a version", at)
}

func TestExplainExec(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct{ text, want string }{
		"interpreter": {"#!/no/sh -e\n", "interpreter /no/sh, which does not exist"},
		"windows":     {"#!/bin/sh\r\n", "carriage return"},
		"loader":      {"\x7fELF\x02", "another Linux"},
	} {
		path := writeFile(t, filepath.Join(dir, name), tt.text, 0o755)
		if got := ExplainExec(path, syscall.ENOENT, Identity{}); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s, want %q", name, got, tt.want)
		}
	}
	if got := ExplainExec(filepath.Join(dir, "none"), syscall.ENOENT, Identity{}); !strings.Contains(got, "does not exist") {
		t.Errorf("what went away: %s", got)
	}
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	if got, err := Dir(filepath.Join(dir, "current")); err != nil || got != dir {
		t.Errorf("Dir = %s, %v, want %s", got, err, dir)
	}
	file := writeFile(t, filepath.Join(dir, "file"), "", 0o644)
	for _, bad := range []string{file, filepath.Join(dir, "none"), filepath.Join(file, "x")} {
		if got, err := Dir(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %s, %v, want an error that names it", bad, got, err)
		}
	}
}

func TestReadAs_HasTheUsersRightsOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("", "roost-env")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	id := Identity{User: User{Name: "nobody", UID: 65534}, GID: 65534, Groups: []int{65534, 4242}, Switch: true}
	own := writeFile(t, filepath.Join(dir, "own"), "A=1", 0o600)
	group := writeFile(t, filepath.Join(dir, "group"), "A=2", 0o640)
	roots := writeFile(t, filepath.Join(dir, "root"), "A=3", 0o640)
	if err := errors.Join(os.Chown(own, 65534, 0), os.Chown(group, 0, 4242)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{own: "A=1", group: "A=2"} {
		if text, err := ReadAs(path, id); err != nil || text != want {
			t.Errorf("%s: %q, %v, want %q", path, text, err, want)
		}
	}
	if text, err := ReadAs(roots, id); !errors.Is(err, os.ErrPermission) {
		t.Errorf("root's file: %q, %v, want permission denied", text, err)
	}
	if text, err := ReadAs(dir, id); err == nil {
		t.Errorf("a folder: %q", text)
	}
	// This process's own rights are as they were.
	if text, err := readRegular(roots); err != nil || text != "A=3" {
		t.Errorf("afterwards root reads %q, %v", text, err)
	}
}

// All groups count at once, and what is made is the identity's.
func TestAs_HasAllGroupsAtOnceAndMakesFilesOfItsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("", "roost-as")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	outer, inner := filepath.Join(dir, "outer"), filepath.Join(dir, "outer", "inner")
	if err := errors.Join(
		os.Chmod(dir, 0o755), os.Mkdir(outer, 0), os.Mkdir(inner, 0), os.Chown(outer, 0, 4242), os.Chown(inner, 0, 4343),
		os.Chmod(outer, 0o710), os.Chmod(inner, 0o770),
	); err != nil {
		t.Fatal(err)
	}
	id := Identity{User: User{Name: "nobody", UID: 65534}, GID: 65534, Groups: []int{4242, 4343}, Switch: true}
	file := filepath.Join(inner, "made")
	if err := As(id, func() error { return os.WriteFile(file, nil, 0o600) }); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 65534 || st.Gid != 65534 {
		t.Errorf("the file is of %d:%d, want 65534:65534", st.Uid, st.Gid)
	}
	id.Groups = []int{4343}
	if err := As(id, func() error { return os.WriteFile(file, nil, 0o600) }); !errors.Is(err, os.ErrPermission) {
		t.Errorf("without the group of the outer folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(outer, "roots"), nil, 0o600); err != nil { // this process is root as before
		t.Error(err)
	}
}

package manifest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func read(t *testing.T, text string) (*Manifest, Faults) {
	t.Helper()
	return Read(Source{Name: "roost.yaml", Base: "/srv/site", Text: []byte(text)})
}

// readApp returns the one app of a manifest that has the given lines in it.
func readApp(t *testing.T, lines string) *roostv1.AppSpec {
	t.Helper()
	m, faults := read(t, "apps:\n  web:\n    "+strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\n    "))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return m.Specs[0]
}

func TestRead_EveryKind(t *testing.T) {
	got := readApp(t, `
command: ./server --flag 'two words' "a\"b" c\ d
release: 2024
umask: 022
instances: 2
env: {PORT_HINT: 8080, DEBUG: true, EMPTY: ""}
env_files: [.env, /etc/web.env]
user: 1000
routes:
- {host: example.org, path: /a, strip_path: true}
listen: {mode: unix}
start: {when: boot, timeout: 1m30s}
ready:
  http: {path: /healthz, status: 200, headers: {X-A: 1}}
  interval: 50ms
restart: {when: on-failure, rapid_fails_per_minute: 0}
recycle: {overlap: false}
idle: {after: 0}
requests: {max_body: 10MiB, websockets: close}
limits: {memory: 512M, cpu: .5, pids: 100}
`)
	want := &roostv1.AppSpec{
		Name: "web", Command: []string{"./server", "--flag", "two words", `a"b`, "c d"}, Dir: "/srv/site",
		Release: "2024", Umask: "022", Instances: new(int32(2)), User: "1000",
		Env:      map[string]string{"PORT_HINT": "8080", "DEBUG": "true", "EMPTY": ""},
		EnvFiles: []string{"/srv/site/.env", "/etc/web.env"},
		Routes:   []*roostv1.Route{{Host: "example.org", Path: "/a", StripPath: true}},
		Listen:   &roostv1.Listen{Mode: roostv1.ListenMode_LISTEN_MODE_UNIX},
		Start:    &roostv1.Start{When: roostv1.StartWhen_START_WHEN_BOOT, Timeout: durationpb.New(90 * time.Second)},
		Ready: &roostv1.Probe{
			Check:    &roostv1.Probe_Http{Http: &roostv1.HttpCheck{Path: "/healthz", Status: "200", Headers: map[string]string{"X-A": "1"}}},
			Interval: durationpb.New(50 * time.Millisecond),
		},
		Restart:  &roostv1.Restart{When: roostv1.RestartWhen_RESTART_WHEN_ON_FAILURE, RapidFailsPerMinute: new(int32(0))},
		Recycle:  &roostv1.Recycle{Overlap: new(false)},
		Idle:     &roostv1.Idle{After: durationpb.New(0)},
		Requests: &roostv1.Requests{MaxBody: 10 << 20, Websockets: roostv1.WebSocketDrain_WEB_SOCKET_DRAIN_CLOSE},
		Limits:   &roostv1.Limits{Memory: 512e6, Cpu: 0.5, Pids: 100},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestRead_JSON(t *testing.T) {
	m, faults := read(t, `{"name": "shop", "apps": {"web": {"command": ["a", "b"], "limits": {"memory": "1GiB"}, "start": {"timeout": "0.1s"}}}}`)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	s := m.Specs[0]
	if m.Name != "shop" || s.GetLimits().GetMemory() != 1<<30 || s.GetStart().GetTimeout().AsDuration() != 100*time.Millisecond {
		t.Errorf("read %q %v", m.Name, s)
	}
}

func TestRead_DefaultsLieUnderEveryApp(t *testing.T) {
	m, faults := read(t, `
defaults:
  env: {A: 1, B: 1}
  env_files: [common.env]
  ready: {http: {path: /x}}
  limits: {memory: 1MiB, pids: 5}
  user: alice
apps:
  plain: {command: a}
  own:
    command: b
    env: {B: 2}
    env_files: []
    ready: {tcp: {}}
    limits: {memory: 0}
    user:
`)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	plain, own := m.Specs[0], m.Specs[1]
	if plain.GetEnv()["A"] != "1" || plain.GetReady().GetHttp().GetPath() != "/x" || plain.GetUser() != "alice" || plain.GetEnvFiles()[0] != "/srv/site/common.env" {
		t.Errorf("plain: %v", plain)
	}
	want := &roostv1.AppSpec{
		Name: "own", Command: []string{"b"}, Dir: "/srv/site", Env: map[string]string{"A": "1", "B": "2"},
		Ready: &roostv1.Probe{Check: &roostv1.Probe_Tcp{Tcp: &roostv1.TcpCheck{}}}, Limits: &roostv1.Limits{Pids: 5},
	}
	if !proto.Equal(own, want) {
		t.Errorf("own: got  %v\nwant %v", own, want)
	}
}

func TestRead_AliasesAndMergeKeys(t *testing.T) {
	m, faults := read(t, `
apps:
  one: &one
    command: [serve]
    env: &env {A: "1", B: "1"}
    routes: &routes [{path: /one}]
  two:
    <<: *one
    routes: [{path: /two}]
    env:
      <<: [{B: "2"}, *env]
      C: "3"
  three:
    command: [x]
    routes: *routes
`)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	two := m.Specs[1]
	if two.GetCommand()[0] != "serve" || two.GetRoutes()[0].GetPath() != "/two" || two.GetEnv()["A"] != "1" || two.GetEnv()["B"] != "2" || two.GetEnv()["C"] != "3" {
		t.Errorf("two: %v", two)
	}
	if m.Specs[2].GetRoutes()[0].GetPath() != "/one" {
		t.Errorf("three: %v", m.Specs[2])
	}
}

func TestRead_CheckWithoutAnythingToSay(t *testing.T) {
	for _, text := range []string{"ready: {notify: {}}", "ready: {notify: }", "ready:\n  notify:"} {
		if got := readApp(t, "command: a\n"+text); got.GetReady().GetNotify() == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestRead_NameAsItIsPrinted(t *testing.T) {
	if got := readApp(t, "name: web\ncommand: a"); got.GetName() != "web" {
		t.Errorf("%v", got)
	}
}

// All faults of a manifest come at once, each at its place.
func TestRead_AllFaultsAtOnce(t *testing.T) {
	_, faults := read(t, `name: shop
app:
apps:
  web:
    comand: ./server
    command: a | b
    instances: two
    instances: 3
    listen: {mode: prot, prot: 80}
    port: 8080
    timeout: 3s
    ready: {tcp: {}, http: {}}
    idle: {after: 10}
    limits: {memory: 5Q, cpu: x, pids: 99999999999}
    env: [A]
    routes: {path: /}
    recycle: {overlap: yes}
    user: [a]
    stop: now
    env_files: a.env
    zzzzzzzzz: 1
`)
	want := []string{
		`roost.yaml:2:1: unknown key "app": did you mean "apps"?`,
		`roost.yaml:5:5: unknown key "comand" in apps.web: did you mean "command"?`,
		`roost.yaml:6:14: apps.web.command: there is no shell to do |: quote it, or use [sh, -c, "…"]`,
		`roost.yaml:7:16: apps.web.instances: want a whole number, found two`,
		`roost.yaml:8:5: duplicate key "instances": line 7 has it already`,
		`roost.yaml:9:20: "prot" is not a choice: did you mean port? one of port, fd, unix, none`,
		`roost.yaml:9:26: unknown key "prot" in apps.web.listen: did you mean "port"?`,
		`roost.yaml:10:5: unknown key "port" in apps.web: did you mean listen.port?`,
		`roost.yaml:11:5: unknown key "timeout" in apps.web: did you mean start.timeout, ready.timeout, stop.timeout, requests.timeout or health.timeout?`,
		`roost.yaml:12:22: http excludes tcp: only one of http, tcp, exec, log, notify may be given`,
		`roost.yaml:13:19: apps.web.idle.after: "10": a duration needs a unit: write 10s, or with ms, m or h`,
		`roost.yaml:14:22: apps.web.limits.memory: "5Q": "Q" is not a unit of size: want a size in bytes such as 512MiB (1024²), 512M (1000²) or 0`,
		`roost.yaml:14:31: apps.web.limits.cpu: want a number, found x`,
		`roost.yaml:14:40: 99999999999 is out of range: -2147483648 to 2147483647`,
		`roost.yaml:15:10: apps.web.env: want a mapping of names to values, found a list`,
		`roost.yaml:16:13: apps.web.routes: want a list, found a mapping`,
		`roost.yaml:17:24: apps.web.recycle.overlap: want true or false, found yes`,
		`roost.yaml:18:11: apps.web.user: want text, found a list`,
		`roost.yaml:19:11: apps.web.stop: want a mapping with signal, timeout, drain, found now`,
		`roost.yaml:20:16: apps.web.env_files: want a list, found a.env`,
	}
	for i, w := range want {
		if i >= len(faults) || faults[i].Error() != w {
			t.Errorf("fault %d:\n got  %v\n want %v", i, at(faults, i), w)
		}
	}
	if last := at(faults, len(want)); !strings.Contains(last, `"zzzzzzzzz"`) || !strings.Contains(last, "known are command, dir, release,") || strings.Contains(last, "redacted_env") {
		t.Errorf("last fault %q, want the known keys", last)
	}
}

func at(fs Faults, i int) string {
	if i >= len(fs) {
		return "none"
	}
	return fs[i].Error()
}

func TestRead_Refuses(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"empty":              {"", "it is empty"},
		"only a comment":     {"# nothing", "it is empty"},
		"a list":             {"- a", "roost.yaml:1:1: want a mapping with the keys name, defaults and apps, found a list"},
		"no apps":            {"name: x", "it has no apps"},
		"not YAML":           {"apps:\n  web: [a\n  b: c\n", "roost.yaml:3:"},
		"a tab":              {"apps:\n\tweb: {}\n", "roost.yaml:2:1: not YAML"},
		"a control":          {"apps:\n  web: \"\x01\"\n", "roost.yaml:2:9: not YAML: control characters are not allowed"},
		"invalid UTF-8":      {"apps:\n  w\xffb: {}\n", "roost.yaml:2:4: not YAML"},
		"two documents":      {"apps: {}\n---\napps: {}\n", "a second document begins"},
		"another app's name": {"apps: {web: {name: api, command: a}}", `its key under apps, "web"`},
		"name in defaults":   {"defaults: {name: x}\napps: {}", "roost.yaml:1:18: an app's name is its key under apps"},
		"variable as null":   {"apps: {web: {command: a, env: {A: }}}", `A has no value: write ""`},
		"assignment":         {"apps: {web: {command: PORT=1 node}}", "there is no shell to set PORT=1: put it under env"},
		"open quote":         {"apps: {web: {command: \"a 'b\"}}", "apps.web.command: it has a ' without its end"},
		"merge of a text":    {"apps: {web: {<<: x}}", "want a mapping to merge"},
		"endless merge":      {"apps: {web: &a {<<: *a}}", "merge keys lie inside one another"},
		"unknown alias":      {"apps: {web: *nope}", "roost.yaml:1:13: not YAML"},
		"quoted number":      {"apps: {web: {instances: \"2\"}}", `want a whole number, found the text "2"`},
		"negative duration":  {"apps: {web: {idle: {after: -1s}}}", "not negative"},
		"fraction of a byte": {"apps: {web: {limits: {memory: 0.5}}}", "not a whole number of bytes"},
		"huge size":          {"apps: {web: {limits: {memory: 99999999TiB}}}", "out of range"},
		"infinite":           {"apps: {web: {limits: {cpu: .inf}}}", "want a number"},
	} {
		_, faults := read(t, tt.text)
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), tt.want) {
			t.Errorf("%s: faults %q, want one with %q", name, faults, tt.want)
		}
	}
}

func TestRead_WithoutAFolder(t *testing.T) {
	_, faults := Read(Source{Name: "standard input", Text: []byte("apps: {a: {command: x}, b: {command: x, dir: rel}, c: {command: x, dir: /abs, env_files: [e]}}")})
	if len(faults) != 3 {
		t.Fatalf("faults %q, want one an app", faults)
	}
	for _, f := range faults {
		if !strings.Contains(f.Message, "--base-dir") {
			t.Errorf("%q does not say what to do", f.Message)
		}
	}
}

func TestRead_BombIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("apps:\n  a0: &a0 {env: &e {")
	for i := range 500 {
		b.WriteString("K" + strings.Repeat("x", i) + ": v, ")
	}
	b.WriteString("}}\n")
	for i := range 4000 {
		fmt.Fprintf(&b, "  b%d: *a0\n", i)
	}
	_, faults := read(t, b.String())
	var much int
	for _, f := range faults {
		if strings.Contains(f.Message, "too much") {
			much++
		}
	}
	if much != 1 {
		t.Errorf("%d faults say it is too much, want one; all: %d", much, len(faults))
	}
}

func TestManifest_FaultFindsItsPlace(t *testing.T) {
	m, faults := read(t, `
defaults:
  stop: {signal: NOPE}
apps:
  web:
    command: a
    listen:
      port: 80
    routes:
    - path: /
    - path: x
`)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for path, want := range map[string]string{
		"apps.web.listen.port":    "roost.yaml:8:13: apps.web.listen.port: m",
		"apps.web.listen.mode":    "roost.yaml:7:5: apps.web.listen.mode: m",
		"apps.web.routes[1].path": "roost.yaml:11:13: apps.web.routes[1].path: m",
		"apps.web.stop.signal":    "roost.yaml:3:18: apps.web.stop.signal: m",
		"apps.web.user":           "roost.yaml:5:3: apps.web.user: m",
		"apps.other":              "roost.yaml:4:1: apps.other: m",
		"":                        "roost.yaml: : m",
	} {
		if got := m.Fault(path, "m", Error).Error(); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestFault_ExcerptPointsAtTheColumn(t *testing.T) {
	for _, tt := range []struct {
		line   string
		column int
		want   string
	}{
		{"  comand: x", 3, "      comand: x\n      ^\n"},
		{"\tü: x", 4, "    \tü: x\n    \t  ^\n"},
		{"a: \x1b[31m", 1, "    a: ?[31m\n    ^\n"},
		{"a", 99, "    a\n     ^\n"},
	} {
		if got := (Fault{Line: 1, Column: tt.column, text: tt.line}).Excerpt(); got != tt.want {
			t.Errorf("%q: got\n%s, want\n%s", tt.line, got, tt.want)
		}
	}
	if got := (Fault{Line: 1, Column: 500, text: strings.Repeat("x", 1000)}).Excerpt(); len(got) > 2*(excerptWidth+10) {
		t.Errorf("a long line takes %d characters", len(got))
	}
}

func TestFaults_CoversTheEcho(t *testing.T) {
	_, faults := read(t, "apps: {web: {comand: x}}")
	for path, want := range map[string]bool{"apps.web.command": true, "apps.web.dir": false, "apps.web": true, "apps.webs": false} {
		if got := faults.Covers(path); got != want {
			t.Errorf("Covers(%q) = %v", path, got)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"start", "stop", "status", "recycle", "rm"}
	for word, want := range map[string]string{"sart": "start", "sto": "stop", "recylce": "recycle", "xyzzy": "", "r": "rm"} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 90 * time.Second: "90s", 5 * time.Minute: "5m", 29 * time.Hour: "29h", 100 * time.Millisecond: "100ms", 1: "1ns"} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 5 * time.Minute: "300s", 100 * time.Millisecond: "0.1s", -1: "-0.000000001s", -1500 * time.Millisecond: "-1.5s"} {
		if got := formatSeconds(d); got != want {
			t.Errorf("formatSeconds(%v) = %q, want %q", d, got, want)
		}
	}
}

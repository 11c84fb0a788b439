package app

import (
	"math"
	"strings"
	"testing"
	"time"
)

func valid() Spec {
	return Spec{Name: "web", Command: []string{"serve"}, Dir: "/srv/web"}
}

func TestSpec_ValidateAcceptsTheSmallestSpec(t *testing.T) {
	if got := valid().WithDefaults().Validate(); len(got) != 0 {
		t.Fatalf("violations: %v", got)
	}
}

func TestSpec_ValidateNamesTheField(t *testing.T) {
	tests := map[string]struct {
		change func(*Spec)
		field  string
		says   string
	}{
		"name with capital":         {func(s *Spec) { s.Name = "Web" }, "name", "not an app name"},
		"name too long":             {func(s *Spec) { s.Name = strings.Repeat("a", 64) }, "name", "at most 63"},
		"name ending in dash":       {func(s *Spec) { s.Name = "a-" }, "name", "not an app name"},
		"no command":                {func(s *Spec) { s.Command = nil }, "command", "required"},
		"token in command":          {func(s *Spec) { s.Command = []string{"x", "${ROOST_TOKEN}"} }, "command[1]", "does not expand"},
		"unknown variable":          {func(s *Spec) { s.Command = []string{"x", "${SECRET}"} }, "command[1]", "not set"},
		"open brace":                {func(s *Spec) { s.Command = []string{"x", "${PORT"} }, "command[1]", "without }"},
		"socket of another mode":    {func(s *Spec) { s.Command = []string{"x", "${ROOST_SOCKET}"} }, "command[1]", "not set"},
		"watch out of dir":          {func(s *Spec) { s.Recycle.Watch = []string{"a", "../b"} }, "recycle.watch[1]", "leads out of dir"},
		"watch of a path":           {func(s *Spec) { s.Recycle.Watch = []string{"/etc/x"} }, "recycle.watch[0]", "is absolute"},
		"watch of every depth":      {func(s *Spec) { s.Recycle.Watch = []string{"conf/**/x"} }, "recycle.watch[0]", "names each folder"},
		"watch of no pattern":       {func(s *Spec) { s.Recycle.Watch = []string{"[a"} }, "recycle.watch[0]", "is not a pattern"},
		"watch not clean":           {func(s *Spec) { s.Recycle.Watch = []string{"./a"} }, "recycle.watch[0]", "write a"},
		"relative dir":              {func(s *Spec) { s.Dir = "srv" }, "dir", "not absolute"},
		"relative env file":         {func(s *Spec) { s.EnvFiles = []string{"a.env"} }, "env_files[0]", "absolute"},
		"long release":              {func(s *Spec) { s.Release = strings.Repeat("r", 65) }, "release", "at most 64"},
		"umask":                     {func(s *Spec) { s.Umask = "9" }, "umask", "octal"},
		"user":                      {func(s *Spec) { s.User = "a:b" }, "user", "name or number"},
		"env name":                  {func(s *Spec) { s.Env = map[string]string{"1A": ""} }, "env.1A", "not the name"},
		"own variable":              {func(s *Spec) { s.Env = map[string]string{"PORT": "1"} }, "env.PORT", "listen.port"},
		"env brace":                 {func(s *Spec) { s.Env = map[string]string{"A": "${B"} }, "env.A", "without }"},
		"instances":                 {func(s *Spec) { s.Instances = new(101) }, "instances", "1 to 100"},
		"no instances":              {func(s *Spec) { s.Instances = new(0) }, "instances", "1 to 100"},
		"host with port":            {func(s *Spec) { s.Routes = []Route{{Host: "a:80"}} }, "routes[0].host", "no port"},
		"path":                      {func(s *Spec) { s.Routes = []Route{{Path: "a"}} }, "routes[0].path", "begin with /"},
		"path above root":           {func(s *Spec) { s.Routes = []Route{{Path: "/a/../b"}} }, "routes[0].path", "write /b"},
		"twice the same route":      {func(s *Spec) { s.Routes = []Route{{Host: "A.org"}, {Host: "a.org", Path: "/"}} }, "routes[1]", "routes[0]"},
		"listen mode":               {func(s *Spec) { s.Listen.Mode = "tcp" }, "listen.mode", "one of port"},
		"port range":                {func(s *Spec) { s.Listen.Port = 70000 }, "listen.port", "1 to 65535"},
		"fixed port, two instances": {func(s *Spec) { s.Listen.Port, s.Instances = 80, new(2) }, "instances", "one instance"},
		"fixed port, overlap":       {func(s *Spec) { s.Listen.Port = 80 }, "recycle.overlap", "cannot share"},
		"fixed port of fd":          {func(s *Spec) { s.Listen.Mode, s.Listen.Port = ListenFD, 80 }, "listen.port", "only listen.mode: port"},
		"worker with routes":        {func(s *Spec) { s.Listen.Mode, s.Routes = ListenNone, []Route{{}} }, "routes", "worker"},
		"worker with idle":          {func(s *Spec) { s.Listen.Mode, s.Idle.After = ListenNone, time.Second }, "idle.after", "worker"},
		"worker on request":         {func(s *Spec) { s.Listen.Mode, s.Start.When = ListenNone, StartOnRequest }, "start.when", "worker"},
		"worker with http check":    {func(s *Spec) { s.Listen.Mode, s.Ready.Kind = ListenNone, ProbeHTTP }, "ready.http", "worker"},
		"start when":                {func(s *Spec) { s.Start.When = "now" }, "start.when", "one of request"},
		"start timeout":             {func(s *Spec) { s.Start.Timeout = new(time.Duration(0)) }, "start.timeout", "above 0"},
		"ready pattern":             {func(s *Spec) { s.Ready = Probe{Kind: ProbeLog, Pattern: "("} }, "ready.log.pattern", "parsing"},
		"ready command":             {func(s *Spec) { s.Ready.Kind = ProbeExec }, "ready.exec.command", "required"},
		"ready status":              {func(s *Spec) { s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Status: "2xx"}} }, "ready.http.status", "list of statuses"},
		"ready path":                {func(s *Spec) { s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Path: "x"}} }, "ready.http.path", "begins with /"},
		"ready interval":            {func(s *Spec) { s.Ready.Interval = new(time.Microsecond) }, "ready.interval", "out of range"},
		"stop signal":               {func(s *Spec) { s.Stop.Signal = "SIGNOPE" }, "stop.signal", "unknown signal"},
		"stop timeout":              {func(s *Spec) { s.Stop.Timeout = new(-time.Second) }, "stop.timeout", "out of range"},
		"restart when":              {func(s *Spec) { s.Restart.When = "maybe" }, "restart.when", "one of always"},
		"rapid fails":               {func(s *Spec) { s.Restart.RapidFailsPerMinute = new(101) }, "restart.rapid_fails_per_minute", "0 to 100"},
		"backoff above its max":     {func(s *Spec) { s.Restart.Backoff, s.Restart.MaxBackoff = new(time.Minute), new(time.Second) }, "restart.max_backoff", "out of range"},
		"negative body":             {func(s *Spec) { s.Requests.MaxBody = -1 }, "requests.max_body", "negative"},
		"queue":                     {func(s *Spec) { s.Requests.Queue = new(-1) }, "requests.queue", "out of range"},
		"websockets":                {func(s *Spec) { s.Requests.WebSockets = "cut" }, "requests.websockets", "one of drain"},
		"nofile":                    {func(s *Spec) { s.Limits.NoFile = -1 }, "limits.nofile", "out of range"},
		"cpu in cores":              {func(s *Spec) { s.Limits.CPUMillis = -1500 }, "limits.cpu", "-1.5 is out of range: 0 to 1000 cores"},
		"env file of no variable":   {func(s *Spec) { s.EnvFiles = []string{"${NOPE}/env"} }, "env_files[0]", "not set"},
		"token in an env file":      {func(s *Spec) { s.EnvFiles = []string{"/x/${ROOST_TOKEN}"} }, "env_files[0]", "does not expand"},
		"token in ready command":    {func(s *Spec) { s.Ready = Probe{Kind: ProbeExec, Command: []string{"x", "${ROOST_TOKEN}"}} }, "ready.exec.command[1]", "does not expand"},
		"NUL in ready command":      {func(s *Spec) { s.Ready = Probe{Kind: ProbeExec, Command: []string{"x\x00"}} }, "ready.exec.command[0]", "NUL"},
		"ready path, bad escape":    {func(s *Spec) { s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Path: "/%zz"}} }, "ready.http.path", "invalid URL escape"},
		"ready host, bad port":      {func(s *Spec) { s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Host: "a:b"}} }, "ready.http.host", "not a host name"},
		"ready host with a user":    {func(s *Spec) { s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Host: "a@b"}} }, "ready.http.host", "not a host name"},
		"ready header name": {func(s *Spec) {
			s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Headers: map[string]string{"x(y": "1"}}}
		}, "ready.http.headers.x(y", "not the name"},
		"ready header value": {func(s *Spec) {
			s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Headers: map[string]string{"x": "a\nb"}}}
		}, "ready.http.headers.x", "control character"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := valid()
			tt.change(&s)
			got := s.WithDefaults().Validate()
			for _, v := range got {
				if v.Field == tt.field && strings.Contains(v.Message, tt.says) {
					return
				}
			}
			t.Fatalf("no violation of %s that says %q in %v", tt.field, tt.says, got)
		})
	}
}

func TestSpec_ValidateAccepts(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"env names with dots": func(s *Spec) {
			s.Env = map[string]string{"Logging__LogLevel__Microsoft.AspNetCore": "Warning", "a-b": ""}
		},
		"variables in paths": func(s *Spec) { s.EnvFiles = []string{"${HOME}/.env", "/etc/${ROOST_APP}.env"} },
		"64 characters":      func(s *Spec) { s.Release = strings.Repeat("é", MaxRelease) },
		"a host with a port": func(s *Spec) { s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Host: "a.example:80"}} },
		"a query":            func(s *Spec) { s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Path: "/up?deep=1"}} },
		"a tab in a header": func(s *Spec) {
			s.Ready = Probe{Kind: ProbeHTTP, HTTP: HTTPCheck{Headers: map[string]string{"X-A": "a\tb"}}}
		},
		"its port in a probe":        func(s *Spec) { s.Ready = Probe{Kind: ProbeExec, Command: []string{"x", "${PORT}"}} },
		"a thousand cores":           func(s *Spec) { s.Limits.CPUMillis = 1_000_000 },
		"a worker with a log line":   func(s *Spec) { s.Listen.Mode, s.Ready = ListenNone, Probe{Kind: ProbeLog, Pattern: "up"} },
		"a fixed port, used alone":   func(s *Spec) { s.Listen.Port, s.Recycle.Overlap = 80, new(false) },
		"the same path on two hosts": func(s *Spec) { s.Routes = []Route{{Host: "a.org"}, {Host: "*.a.org"}, {}} },
	} {
		s := valid()
		change(&s)
		if got := s.WithDefaults().Validate(); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What was not given is at no fault.
func TestSpec_ValidateReportsAStartTimeoutOutOfRangeOnly(t *testing.T) {
	for timeout, faults := range map[time.Duration]int{maxDuration: 0, maxDuration + 1: 1, math.MaxInt64: 1, -1: 1} {
		s := valid()
		s.Start.Timeout = new(timeout)
		if got := s.WithDefaults().Validate(); len(got) != faults || faults > 0 && got[0].Field != "start.timeout" {
			t.Errorf("%v: %v", timeout, got)
		}
	}
}

// What follows from a port that is none is noise beside it.
func TestSpec_ValidateReportsAPortOutOfRangeOnly(t *testing.T) {
	for _, port := range []int{-1, 99999} {
		s := valid()
		s.Listen.Port, s.Instances = port, new(2)
		if got := s.WithDefaults().Validate(); len(got) != 1 || got[0].Field != "listen.port" {
			t.Errorf("%d: %v", port, got)
		}
	}
}

func TestSpec_ValidateReportsAllFaultsAtOnce(t *testing.T) {
	s := Spec{Name: "X", Instances: new(0)}
	if got := s.WithDefaults().Validate(); len(got) != 4 {
		t.Fatalf("want the faults of name, command, dir and instances, got %v", got)
	}
}

func TestReplaces(t *testing.T) {
	base := valid().WithDefaults()
	tests := map[string]struct {
		change func(*Spec)
		path   string
		want   bool
	}{
		"env":          {func(s *Spec) { s.Env = map[string]string{"A": "1"} }, "env.A", true},
		"release":      {func(s *Spec) { s.Release = "2" }, "release", true},
		"listen":       {func(s *Spec) { s.Listen.Mode = ListenFD }, "listen.mode", true},
		"limits":       {func(s *Spec) { s.Limits.Memory = 1 }, "limits.memory", true},
		"path base":    {func(s *Spec) { s.Routes = []Route{{Path: "/a"}} }, "routes", true},
		"host":         {func(s *Spec) { s.Routes = []Route{{Host: "a", Path: "/"}} }, "routes", false},
		"instances":    {func(s *Spec) { s.Instances = new(3) }, "instances", false},
		"ready":        {func(s *Spec) { s.Ready.Kind = ProbeTCP }, "ready", false},
		"stop timeout": {func(s *Spec) { s.Stop.Timeout = new(time.Hour) }, "stop.timeout", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := base
			tt.change(&s)
			if got := Replaces(base, s); got != tt.want {
				t.Errorf("Replaces: %v, want %v", got, tt.want)
			}
			if got := ChangedPaths(base, s); len(got) != 1 || got[0] != tt.path {
				t.Errorf("ChangedPaths: %v, want %s", got, tt.path)
			}
		})
	}
	if got := ChangedPaths(base, valid().WithDefaults()); len(got) != 0 {
		t.Errorf("equal specs differ in %v", got)
	}
}

func TestEtag_ChangesWithSpecAndGeneration(t *testing.T) {
	a, b := valid(), valid()
	b.Release = "2"
	if Etag(1, a) != Etag(1, valid()) || Etag(1, a) == Etag(1, b) || Etag(1, a) == Etag(2, a) {
		t.Fatal("an etag must stand for one generation's spec")
	}
}

func TestExpand(t *testing.T) {
	env := map[string]string{"PORT": "80", "EMPTY": ""}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	for in, want := range map[string]string{
		"": "", "x": "x", "${PORT}": "80", "a${PORT}b${PORT}": "a80b80", "$$": "$", "$${PORT}": "${PORT}",
		"$PORT": "$PORT", "x$": "x$", "${EMPTY}": "",
	} {
		if got, err := Expand(in, lookup); got != want || err != nil {
			t.Errorf("Expand(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"${", "${NOPE}", "${}"} {
		if got, err := Expand(in, lookup); err == nil {
			t.Errorf("Expand(%q) = %q, want an error", in, got)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "$$", "${A}", "${", "a$b${C}$${D}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Expand(s, func(name string) (string, bool) { return "", true })
		if err == nil && len(got) > len(s) {
			t.Fatalf("empty variables made %q longer: %q", s, got)
		}
		quoted := strings.ReplaceAll(s, "$", "$$")
		if got, err := Expand(quoted, nil); got != s || err != nil {
			t.Fatalf("Expand(%q) = %q, %v; want %q", quoted, got, err, s)
		}
	})
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]int{"SIGTERM": 15, "term": 15, "HUP": 1, "9": 9, "64": 64} {
		if got, err := ParseSignal(in); int(got) != want || err != nil {
			t.Errorf("ParseSignal(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "SIG", "0", "65", "-1", "SIGFOO"} {
		if got, err := ParseSignal(in); err == nil {
			t.Errorf("ParseSignal(%q) = %v, want an error", in, got)
		}
	}
	for _, s := range signals {
		if got, err := ParseSignal(SignalName(s)); got != s || err != nil {
			t.Errorf("%d does not survive its name: %v, %v", s, got, err)
		}
	}
}

func TestParseStatuses(t *testing.T) {
	got, err := ParseStatuses("200-399, 404")
	if err != nil || len(got) != 2 || got[0] != (StatusRange{200, 399}) || got[1] != (StatusRange{404, 404}) {
		t.Fatalf("%v, %v", got, err)
	}
	for _, in := range []string{"", "99", "600", "300-200", "a", "200-", "200,"} {
		if got, err := ParseStatuses(in); err == nil {
			t.Errorf("ParseStatuses(%q) = %v, want an error", in, got)
		}
	}
}

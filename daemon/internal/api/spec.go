package api

import (
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/roostd/roost/daemon/internal/app"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// faults collects what a message says and app.Spec cannot.
type faults struct {
	prefix string
	list   []app.Violation
}

func (f *faults) add(field, format string, args ...any) {
	f.list = append(f.list, app.Violation{Field: f.prefix + field, Message: fmt.Sprintf(format, args...)})
}

// unknown refuses what a later version of the API brought: an app must not run
// without it. path is that of the message, "" for the spec.
func (f *faults) unknown(path string, m protoreflect.Message) {
	if len(m.GetUnknown()) > 0 {
		f.list = append(f.list, app.Violation{
			Field:   strings.TrimSuffix(f.prefix+path, "."),
			Message: "it has fields that this daemon does not know: use a roostd of the client's version",
		})
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		sub := strings.TrimPrefix(path+"."+string(fd.Name()), ".")
		switch {
		case fd.Message() == nil || fd.IsMap():
		case fd.IsList():
			for i := range v.List().Len() {
				f.unknown(fmt.Sprintf("%s[%d]", sub, i), v.List().Get(i).Message())
			}
		default:
			f.unknown(sub, v.Message())
		}
		return true
	})
}

// specFrom translates a spec and returns its faults, with fields as in the
// manifest. What the values may be is left to app.Spec.Validate.
func specFrom(p *roostv1.AppSpec) (app.Spec, []app.Violation) {
	f := &faults{prefix: "apps." + p.GetName() + "."}
	f.unknown("", p.ProtoReflect())
	for _, key := range p.GetRedactedEnv() {
		f.add("env."+key, "its value was hidden from whoever read this spec: give the value, and take redacted_env out")
	}
	s := app.Spec{
		Name: p.GetName(), Command: p.GetCommand(), Dir: p.GetDir(), Release: p.GetRelease(),
		Env: p.GetEnv(), EnvFiles: p.GetEnvFiles(), User: p.GetUser(), Group: p.GetGroup(),
		Umask: p.GetUmask(), Labels: p.GetLabels(), Instances: intFrom(p.Instances),
		Listen: app.Listen{
			Mode: choose(f, "listen.mode", listenModes, p.GetListen().GetMode()), Port: int(p.GetListen().GetPort()),
		},
		Start: app.Start{
			When:    choose(f, "start.when", startWhens, p.GetStart().GetWhen()),
			Timeout: f.duration("start.timeout", p.GetStart().GetTimeout()),
			Warmup:  p.GetStart().GetWarmup(),
		},
		Ready:  f.ready(p.GetReady()),
		Health: f.health(p.GetHealth()),
		Preset: choose(f, "preset", presets, p.GetPreset()),
		Stop: app.Stop{
			Signal:  p.GetStop().GetSignal(),
			Timeout: f.duration("stop.timeout", p.GetStop().GetTimeout()),
			Drain:   f.duration("stop.drain", p.GetStop().GetDrain()),
		},
		Restart: f.restart(p.GetRestart()),
		Recycle: f.recycle(p.GetRecycle()),
		Idle:    app.Idle{After: valueOr(f.duration("idle.after", p.GetIdle().GetAfter()), 0)},
		Requests: app.Requests{
			Timeout:      f.duration("requests.timeout", p.GetRequests().GetTimeout()),
			QueueTimeout: f.duration("requests.queue_timeout", p.GetRequests().GetQueueTimeout()),
			MaxBody:      p.GetRequests().GetMaxBody(),
			WebSockets:   choose(f, "requests.websockets", webSocketDrains, p.GetRequests().GetWebsockets()),
		},
		Limits: app.Limits{
			NoFile: int(p.GetLimits().GetNofile()), Memory: p.GetLimits().GetMemory(),
			CPUMillis: f.millis("limits.cpu", p.GetLimits().GetCpu()), Pids: int(p.GetLimits().GetPids()),
		},
		Logs: app.Logs{
			MaxSize: p.GetLogs().GetMaxSize(), StdoutFile: p.GetLogs().GetStdoutFile(),
			WhenFull: choose(f, "logs.when_full", whenFulls, p.GetLogs().GetWhenFull()),
		},
		ErrorPage: app.ErrorPage{DisableStartup: p.GetErrorPage().GetDisableStartup()},
	}
	for i, r := range p.GetRoutes() {
		s.Routes = append(s.Routes, app.Route{
			Host: r.GetHost(), Path: r.GetPath(), StripPath: r.GetStripPath(),
			HTTPS: choose(f, fmt.Sprintf("routes[%d].https", i), httpsPolicies, r.GetHttps()),
		})
	}
	if l := p.GetLogs(); l != nil {
		s.Logs.MaxFiles = intFrom(l.MaxFiles)
	}
	if r := p.GetRequests(); r != nil {
		s.Requests.Queue = intFrom(r.Queue)
	}
	return s, f.list
}

func (f *faults) restart(p *roostv1.Restart) app.Restart {
	r := app.Restart{
		When:       choose(f, "restart.when", restartWhens, p.GetWhen()),
		Backoff:    f.duration("restart.backoff", p.GetBackoff()),
		MaxBackoff: f.duration("restart.max_backoff", p.GetMaxBackoff()),

		OnRapidFail: choose(f, "restart.on_rapid_fail", onRapidFails, p.GetOnRapidFail()),
	}
	if p != nil {
		r.RapidFailsPerMinute = intFrom(p.RapidFailsPerMinute)
	}
	return r
}

func (f *faults) recycle(p *roostv1.Recycle) app.Recycle {
	r := app.Recycle{
		MinReady:    f.duration("recycle.min_ready", p.GetMinReady()),
		MaxAge:      valueOr(f.duration("recycle.max_age", p.GetMaxAge()), 0),
		At:          p.GetAt(),
		MaxRequests: p.GetMaxRequests(),
		MaxMemory:   p.GetMaxMemory(),
		Watch:       p.GetWatch(),
		Settle:      f.duration("recycle.settle", p.GetSettle()),
	}
	if p != nil && p.Overlap != nil {
		r.Overlap = new(*p.Overlap)
	}
	return r
}

func (f *faults) ready(p *roostv1.Probe) app.Probe {
	a := app.Probe{
		Interval: f.duration("ready.interval", p.GetInterval()),
		Timeout:  f.duration("ready.timeout", p.GetTimeout()),
	}
	switch check := p.GetCheck().(type) {
	case *roostv1.Probe_Http:
		a.Kind, a.HTTP = app.ProbeHTTP, httpFrom(check.Http)
	case *roostv1.Probe_Tcp:
		a.Kind = app.ProbeTCP
	case *roostv1.Probe_Exec:
		a.Kind, a.Command = app.ProbeExec, check.Exec.GetCommand()
	case *roostv1.Probe_Log:
		a.Kind, a.Pattern = app.ProbeLog, check.Log.GetPattern()
	case *roostv1.Probe_Notify:
		a.Kind = app.ProbeNotify
	}
	return a
}

func (f *faults) health(p *roostv1.Health) *app.Health {
	if p == nil {
		return nil
	}
	h := &app.Health{
		Probe: app.Probe{
			Interval: f.duration("health.interval", p.GetInterval()),
			Timeout:  f.duration("health.timeout", p.GetTimeout()),
		},
		Failures: intFrom(p.Failures),
	}
	switch check := p.GetCheck().(type) {
	case *roostv1.Health_Http:
		h.Probe.Kind, h.Probe.HTTP = app.ProbeHTTP, httpFrom(check.Http)
	case *roostv1.Health_Tcp:
		h.Probe.Kind = app.ProbeTCP
	case *roostv1.Health_Exec:
		h.Probe.Kind, h.Probe.Command = app.ProbeExec, check.Exec.GetCommand()
	}
	return h
}

func httpFrom(p *roostv1.HttpCheck) app.HTTPCheck {
	return app.HTTPCheck{Path: p.GetPath(), Host: p.GetHost(), Headers: p.GetHeaders(), Status: p.GetStatus()}
}

// duration translates a duration; nil is not given.
func (f *faults) duration(field string, p *durationpb.Duration) *time.Duration {
	if p == nil {
		return nil
	}
	if err := p.CheckValid(); err != nil {
		f.add(field, "%v", err)
		return nil
	}
	return new(p.AsDuration())
}

// maxCores keeps thousandths of a core far inside an int64.
const maxCores = 1e9

// millis translates cores into thousandths of one.
func (f *faults) millis(field string, cores float64) int64 {
	if math.IsNaN(cores) || math.Abs(cores) > maxCores {
		f.add(field, "%v is not a number of cores", cores)
		return 0
	}
	m := int64(math.Round(cores * 1000))
	if m == 0 && cores != 0 {
		f.add(field, "%v is out of range: a thousandth of a core is the least", cores)
	}
	return m
}

// specTo translates a spec back. Env values are left out, and their keys named
// instead, unless they may be shown.
func specTo(s app.Spec, showEnv bool) *roostv1.AppSpec {
	p := &roostv1.AppSpec{
		Name: s.Name, Command: s.Command, Dir: s.Dir, Release: s.Release, EnvFiles: s.EnvFiles,
		User: s.User, Group: s.Group, Umask: s.Umask, Labels: s.Labels, Instances: intTo(s.Instances),
		Listen: orNil(&roostv1.Listen{Mode: choiceTo(listenModes, s.Listen.Mode), Port: int32(s.Listen.Port)}),
		Start:  orNil(&roostv1.Start{When: choiceTo(startWhens, s.Start.When), Timeout: durationTo(s.Start.Timeout), Warmup: s.Start.Warmup}),
		Ready:  orNil(readyTo(s.Ready)),
		Health: healthTo(s.Health),
		Preset: choiceTo(presets, s.Preset),
		Stop:   orNil(&roostv1.Stop{Signal: s.Stop.Signal, Timeout: durationTo(s.Stop.Timeout), Drain: durationTo(s.Stop.Drain)}),
		Restart: orNil(&roostv1.Restart{
			When: choiceTo(restartWhens, s.Restart.When), RapidFailsPerMinute: intTo(s.Restart.RapidFailsPerMinute),
			Backoff: durationTo(s.Restart.Backoff), MaxBackoff: durationTo(s.Restart.MaxBackoff),
			OnRapidFail: choiceTo(onRapidFails, s.Restart.OnRapidFail),
		}),
		Recycle: orNil(recycleTo(s.Recycle)),
		Requests: orNil(&roostv1.Requests{
			Timeout: durationTo(s.Requests.Timeout), Queue: intTo(s.Requests.Queue),
			QueueTimeout: durationTo(s.Requests.QueueTimeout), MaxBody: s.Requests.MaxBody,
			Websockets: choiceTo(webSocketDrains, s.Requests.WebSockets),
		}),
		Limits: orNil(&roostv1.Limits{
			Nofile: int32(s.Limits.NoFile), Memory: s.Limits.Memory,
			Cpu: float64(s.Limits.CPUMillis) / 1000, Pids: int32(s.Limits.Pids),
		}),
		Logs: orNil(&roostv1.Logs{
			MaxSize: s.Logs.MaxSize, MaxFiles: intTo(s.Logs.MaxFiles), StdoutFile: s.Logs.StdoutFile,
			WhenFull: choiceTo(whenFulls, s.Logs.WhenFull),
		}),
		ErrorPage: orNil(&roostv1.ErrorPage{DisableStartup: s.ErrorPage.DisableStartup}),
		Routes:    routesTo(s.Routes),
	}
	if s.Idle.After != 0 {
		p.Idle = &roostv1.Idle{After: durationpb.New(s.Idle.After)}
	}
	if showEnv {
		p.Env = s.Env
	} else {
		p.RedactedEnv = sortedKeys(s.Env)
	}
	return p
}

func recycleTo(r app.Recycle) *roostv1.Recycle {
	p := &roostv1.Recycle{
		Overlap: r.Overlap, MinReady: durationTo(r.MinReady), At: r.At,
		MaxRequests: r.MaxRequests, MaxMemory: r.MaxMemory, Watch: r.Watch, Settle: durationTo(r.Settle),
	}
	if r.MaxAge != 0 {
		p.MaxAge = durationpb.New(r.MaxAge)
	}
	return p
}

func routesTo(routes []app.Route) []*roostv1.Route {
	var list []*roostv1.Route
	for _, r := range routes {
		list = append(list, &roostv1.Route{
			Host: r.Host, Path: r.Path, StripPath: r.StripPath, Https: choiceTo(httpsPolicies, r.HTTPS),
		})
	}
	return list
}

func readyTo(a app.Probe) *roostv1.Probe {
	p := &roostv1.Probe{Interval: durationTo(a.Interval), Timeout: durationTo(a.Timeout)}
	switch a.Kind {
	case app.ProbeListen:
	case app.ProbeHTTP:
		p.Check = &roostv1.Probe_Http{Http: httpTo(a.HTTP)}
	case app.ProbeTCP:
		p.Check = &roostv1.Probe_Tcp{Tcp: &roostv1.TcpCheck{}}
	case app.ProbeExec:
		p.Check = &roostv1.Probe_Exec{Exec: &roostv1.ExecCheck{Command: a.Command}}
	case app.ProbeLog:
		p.Check = &roostv1.Probe_Log{Log: &roostv1.LogCheck{Pattern: a.Pattern}}
	case app.ProbeNotify:
		p.Check = &roostv1.Probe_Notify{Notify: &roostv1.NotifyCheck{}}
	}
	return p
}

func healthTo(h *app.Health) *roostv1.Health {
	if h == nil {
		return nil
	}
	p := &roostv1.Health{Interval: durationTo(h.Probe.Interval), Timeout: durationTo(h.Probe.Timeout), Failures: intTo(h.Failures)}
	switch h.Probe.Kind {
	case app.ProbeHTTP:
		p.Check = &roostv1.Health_Http{Http: httpTo(h.Probe.HTTP)}
	case app.ProbeTCP:
		p.Check = &roostv1.Health_Tcp{Tcp: &roostv1.TcpCheck{}}
	case app.ProbeExec:
		p.Check = &roostv1.Health_Exec{Exec: &roostv1.ExecCheck{Command: h.Probe.Command}}
	}
	return p
}

func httpTo(c app.HTTPCheck) *roostv1.HttpCheck {
	return &roostv1.HttpCheck{Path: c.Path, Host: c.Host, Headers: c.Headers, Status: c.Status}
}

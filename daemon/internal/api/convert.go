package api

import (
	"github.com/roostd/roost/daemon/internal/app"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// generationOf returns a kept generation, false where it is not kept.
func generationOf(a app.Stored, number int64) (app.Generation, bool) {
	for _, g := range a.Generations {
		if g.Number == number {
			return g, true
		}
	}
	return app.Generation{}, false
}

func appTo(a app.App, showEnv bool) *roostv1.App {
	p := &roostv1.App{
		Name: a.Name, DesiredGeneration: a.Desired, ServingGeneration: a.Serving,
		State: states[a.State], Ready: int32(a.Ready), Instances: int32(a.Instances),
		RetryTime: timeTo(a.RetryTime), Manifest: a.Manifest,
	}
	if desired, ok := generationOf(a.Stored, a.Desired); ok {
		p.Spec = specTo(desired.Spec, showEnv)
		p.Etag = app.Etag(desired.Number, desired.Spec)
	}
	if serving, ok := generationOf(a.Stored, a.Serving); ok {
		p.ResolvedDir = valid(serving.ResolvedDir)
	}
	for _, c := range a.Conditions {
		p.Conditions = append(p.Conditions, &roostv1.Condition{Type: c.Type, Message: valid(c.Message), Time: timeTo(c.Time)})
	}
	if a.Rollout != nil {
		p.Rollout = rolloutTo(*a.Rollout)
	}
	return p
}

func rolloutTo(r app.Rollout) *roostv1.Rollout {
	return &roostv1.Rollout{
		Id: r.ID, App: r.App, Generation: r.Generation, Phase: rolloutPhases[r.Phase],
		Desired: int32(r.Desired), Updated: int32(r.Updated), Draining: int32(r.Draining),
		Message: valid(r.Message), Output: valid(r.Output), StartTime: timeTo(r.Start), EndTime: timeTo(r.End),
	}
}

func generationTo(g app.Generation, desired, serving int64, showEnv bool) *roostv1.Generation {
	return &roostv1.Generation{
		Number: g.Number, Spec: specTo(g.Spec, showEnv), ResolvedDir: valid(g.ResolvedDir), Time: timeTo(g.Time),
		Actor: g.Actor, Desired: g.Number == desired, Serving: g.Number == serving, Outcome: rolloutPhases[g.Outcome],
	}
}

func instanceTo(i app.Instance, inFlight int) *roostv1.Instance {
	return &roostv1.Instance{
		Id: string(i.ID), App: i.App, Generation: i.Generation, Phase: instancePhases[i.Phase],
		Pid: int32(i.PID), Address: i.Address, StartTime: timeTo(i.StartTime), ReadyTime: timeTo(i.ReadyTime),
		Exit: exitTo(i.Exit), Reason: valid(i.Reason), OutputTail: valid(i.OutputTail), InFlight: int32(inFlight),
		OutputDroppedBytes: i.Output.DroppedBytes, OutputDroppedLines: i.Output.DroppedLines, OutputFault: valid(i.Output.Fault),
	}
}

func exitTo(e *app.Exit) *roostv1.Exit {
	if e == nil {
		return nil
	}
	p := &roostv1.Exit{Code: int32(e.Code), Oom: e.OOM, Unknown: e.Unknown, Time: timeTo(e.Time)}
	if e.Signal != 0 {
		p.Signal = app.SignalName(e.Signal)
	}
	return p
}

func eventTo(e app.Event) *roostv1.Event {
	return &roostv1.Event{
		Id: string(e.ID), Cursor: e.Cursor, Time: timeTo(e.Time), App: e.App, Instance: string(e.Instance),
		Actor: e.Actor, Severity: severities[e.Severity], Message: e.Message, Attributes: e.Attributes,
	}
}

func setTo(s app.EndpointSet) *roostv1.EndpointSet {
	p := &roostv1.EndpointSet{
		App: s.App, Epoch: s.Epoch, Revision: s.Revision, Routes: routesTo(s.Routes),
		Requests: &roostv1.RequestPolicy{
			Timeout:        durationTo(s.Requests.Timeout),
			Queue:          int32(valueOr(s.Requests.Queue, 0)),
			QueueTimeout:   durationTo(s.Requests.QueueTimeout),
			MaxBody:        s.Requests.MaxBody,
			Websockets:     choiceTo(webSocketDrains, s.Requests.WebSockets),
			DetailedErrors: s.DetailedErrors,
			Preset:         choiceTo(presets, s.Preset),

			DisableStartupPage: s.DisableStartupPage,
		},
	}
	if s.Offline != nil {
		p.Offline = &roostv1.Offline{Page: s.Offline.Page, BuiltIn: s.Offline.BuiltIn}
	}
	for _, e := range s.Endpoints {
		p.Endpoints = append(p.Endpoints, &roostv1.Endpoint{
			Instance: string(e.Instance), Generation: e.Generation, Address: e.Address, Token: e.Token,
			Draining: e.Draining, ReadyTime: timeTo(e.ReadyTime), Preset: choiceTo(presets, e.Preset),
		})
	}
	return p
}

func warningsTo(list []app.Violation) []*roostv1.FieldWarning {
	var warnings []*roostv1.FieldWarning
	for _, v := range list {
		warnings = append(warnings, &roostv1.FieldWarning{Field: v.Field, Message: valid(v.Message)})
	}
	return warnings
}

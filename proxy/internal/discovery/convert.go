package discovery

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/route"
)

// What a daemon that says nothing about an app's requests means: the manifest's
// defaults.
const (
	defaultTimeout      = 2 * time.Minute
	defaultQueue        = 1000
	defaultQueueTimeout = 130 * time.Second
)

// appFrom translates a set of the wire.
func appFrom(s *roostv1.EndpointSet) app {
	a := app{Set: backend.Set{
		App: s.GetApp(), Epoch: s.GetEpoch(), Revision: s.GetRevision(),
		Policy: policyFrom(s.GetRequests()),
	}}
	if o := s.GetOffline(); o != nil {
		a.Set.Offline = &backend.Offline{Page: o.GetPage(), BuiltIn: o.GetBuiltIn()}
	}
	for _, e := range s.GetEndpoints() {
		a.Set.Endpoints = append(a.Set.Endpoints, endpointFrom(e))
	}
	for _, r := range s.GetRoutes() {
		rule := ruleFrom(r)
		rule.AnyCase = isModule(s.GetRequests().GetPreset())
		a.Routes = append(a.Routes, rule)
	}
	return a
}

func endpointFrom(e *roostv1.Endpoint) backend.Endpoint {
	network, address := "tcp", e.GetAddress()
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	return backend.Endpoint{
		Instance: e.GetInstance(), Generation: e.GetGeneration(),
		Network: network, Address: address, Token: e.GetToken(), Draining: e.GetDraining(),
		Module: isModule(e.GetPreset()),
	}
}

// isModule tells whether a preset is the one of the ASP.NET Core Module.
func isModule(p roostv1.Preset) bool { return p == roostv1.Preset_PRESET_ASPNETCORE }

func policyFrom(p *roostv1.RequestPolicy) backend.Policy {
	if p == nil {
		return backend.Policy{Timeout: defaultTimeout, Queue: defaultQueue, QueueTimeout: defaultQueueTimeout}
	}
	return backend.Policy{
		Timeout:         durationFrom(p.GetTimeout(), defaultTimeout),
		Queue:           int(p.GetQueue()),
		QueueTimeout:    durationFrom(p.GetQueueTimeout(), defaultQueueTimeout),
		MaxBody:         p.GetMaxBody(),
		CloseWebSockets: p.GetWebsockets() == roostv1.WebSocketDrain_WEB_SOCKET_DRAIN_CLOSE,
		DetailedErrors:  p.GetDetailedErrors(),

		BareStartFailure: p.GetDisableStartupPage(),
	}
}

func durationFrom(d *durationpb.Duration, unset time.Duration) time.Duration {
	if v := d.AsDuration(); v > 0 {
		return v
	}
	return unset
}

// ruleFrom brings a route into the form that route.Table compares with.
func ruleFrom(r *roostv1.Route) route.Rule {
	path := strings.TrimRight(r.GetPath(), "/")
	if path == "" {
		path = "/"
	}
	return route.Rule{
		Host: strings.ToLower(r.GetHost()), Path: path, StripPath: r.GetStripPath(), HTTPS: httpsFrom(r.GetHttps()),
	}
}

// httpsFrom refuses clear text where a newer daemon asks for what this proxy does
// not know: it is the only answer that gives nothing away.
func httpsFrom(p roostv1.HttpsPolicy) route.HTTPS {
	switch p {
	case roostv1.HttpsPolicy_HTTPS_POLICY_UNSPECIFIED:
		return route.Served
	case roostv1.HttpsPolicy_HTTPS_POLICY_REDIRECT:
		return route.Redirect
	default:
		return route.Only
	}
}

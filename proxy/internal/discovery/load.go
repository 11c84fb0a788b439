package discovery

import (
	"slices"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/backend"
)

// loads tells what of the pools' load the daemon does not know yet. It belongs to
// one stream: a new one begins with all.
type loads struct {
	sent map[string]backend.Load // nil: nothing was
}

// next returns what changed since the last call, of all apps or of those in only.
// It is nil where nothing did.
func (l *loads) next(all []backend.Load, only map[string]bool) *roostv1.ProxyLoad {
	now := byApp(all)
	m := &roostv1.ProxyLoad{Complete: l.sent == nil}
	if m.Complete {
		l.sent, only = map[string]backend.Load{}, nil
	}
	for name, load := range now {
		if only != nil && !only[name] {
			continue
		}
		if old, known := l.sent[name]; !known || !same(old, load) {
			l.sent[name] = load
			m.Loads = append(m.Loads, loadTo(load))
		}
	}
	for name := range l.sent {
		if _, still := now[name]; !still {
			delete(l.sent, name)
			m.RemovedApps = append(m.RemovedApps, name)
		}
	}
	if !m.Complete && len(m.Loads) == 0 && len(m.RemovedApps) == 0 {
		return nil
	}
	return m
}

// byApp joins the loads of an app that was removed, has exchanges open, and was
// added again. The one that lives comes first.
func byApp(all []backend.Load) map[string]backend.Load {
	apps := make(map[string]backend.Load, len(all))
	for _, load := range all {
		if first, twice := apps[load.App]; twice {
			first.InFlight += load.InFlight
			first.Queued += load.Queued
			first.Requests += load.Requests
			first.Instances = slices.Concat(first.Instances, load.Instances)
			load = first
		}
		apps[load.App] = load
	}
	return apps
}

func same(a, b backend.Load) bool {
	return a.Epoch == b.Epoch && a.Revision == b.Revision && a.InFlight == b.InFlight && a.Queued == b.Queued &&
		a.Requests == b.Requests && slices.Equal(a.Instances, b.Instances)
}

func loadTo(l backend.Load) *roostv1.AppLoad {
	m := &roostv1.AppLoad{
		App: l.App, Epoch: l.Epoch, Revision: l.Revision,
		InFlight: int32(l.InFlight), Queued: int32(l.Queued), Requests: l.Requests,
	}
	for _, i := range l.Instances {
		m.Instances = append(m.Instances, &roostv1.InstanceLoad{Instance: i.ID, InFlight: int32(i.InFlight), Requests: i.Requests})
	}
	return m
}

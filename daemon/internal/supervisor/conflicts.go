package supervisor

import (
	"fmt"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
)

// claim is something that only one app can have: a host and path, or a port.
type claim struct {
	host, folded string // the path in lower case
	port         int
}

// claimed is a claim, and the field of the spec that makes it.
type claimed struct {
	claim
	field   string
	path    string // as it is written
	anyCase bool   // it matches however the path is written
}

// meets tells whether a request could mean both.
func (c claimed) meets(o claimed) bool {
	return c.claim == o.claim && (c.path == o.path || c.anyCase || o.anyCase)
}

func claimsOf(s app.Spec) []claimed {
	var list []claimed
	for i, r := range s.Routes {
		list = append(list, claimed{
			claim: claim{host: r.Host, folded: strings.ToLower(r.Path)}, field: fmt.Sprintf("routes[%d]", i),
			path: r.Path, anyCase: s.Preset == app.PresetASPNETCore,
		})
	}
	if s.Listen.Port != 0 {
		list = append(list, claimed{claim: claim{port: s.Listen.Port}, field: "listen.port"})
	}
	return list
}

// conflicts returns what the changed apps' desired specs claim that another app
// has, by its desired or its serving generation: until a rollout is complete the
// old one still counts, and may come back. all holds every app as it would be
// after the write.
func conflicts(all map[string]app.Stored, changed []string) []conflict {
	holders := map[claim][]holder{}
	for name, a := range all {
		for _, g := range []app.Generation{desiredOf(a), servingOf(a)} {
			for _, c := range claimsOf(g.Spec) {
				holders[c.claim] = append(holders[c.claim], holder{name, c})
			}
		}
	}
	var found []conflict
	for _, name := range changed {
		for _, c := range claimsOf(desiredOf(all[name]).Spec) {
			if other, ok := firstOther(holders[c.claim], name, c); ok {
				found = append(found, conflict{claimed: c, app: name, other: other})
			}
		}
	}
	return found
}

// holder is an app that has a claim.
type holder struct {
	name string
	claimed
}

// firstOther is the app, first by name, that has what another one claims.
func firstOther(holders []holder, name string, c claimed) (other string, ok bool) {
	for _, h := range holders {
		if h.name != name && h.meets(c) && (!ok || h.name < other) {
			other, ok = h.name, true
		}
	}
	return other, ok
}

// conflict is a claim of two apps.
type conflict struct {
	claimed
	app, other string
}

func (c conflict) violation() app.Violation {
	message := fmt.Sprintf("app %s has the fixed port %d already: choose another or port: 0", c.other, c.port)
	if c.port == 0 {
		message = fmt.Sprintf("app %s has the route %s already: change the host or the path of one of them", c.other, routeName(c.host, c.path))
	}
	return app.Violation{Field: "apps." + c.app + "." + c.field, Message: message}
}

func routeName(host, path string) string {
	if host == "" {
		return "*" + path
	}
	return host + path
}

// conflictFault makes one error of all conflicts; nil for none.
func conflictFault(found []conflict) error {
	if len(found) == 0 {
		return nil
	}
	f := &app.Fault{Kind: app.Conflict, Reason: app.ReasonPortConflict, App: found[0].app}
	var messages []string
	for _, c := range found {
		v := c.violation()
		f.Violations = append(f.Violations, v)
		messages = append(messages, v.Field+": "+v.Message)
		if c.port == 0 {
			f.Reason = app.ReasonRouteConflict
		}
	}
	f.Message = strings.Join(messages, "; ")
	return f
}

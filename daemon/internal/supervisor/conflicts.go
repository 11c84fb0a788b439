package supervisor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
)

// claim is something that only one app can have: a host and path, or a port.
type claim struct {
	route app.Route // with StripPath false
	port  int
}

// claimed is a claim, and the field of the spec that makes it.
type claimed struct {
	claim
	field string
}

func claimsOf(s app.Spec) []claimed {
	var list []claimed
	for i, r := range s.Routes {
		c := claim{route: app.Route{Host: r.Host, Path: r.Path}}
		list = append(list, claimed{c, fmt.Sprintf("routes[%d]", i)})
	}
	if s.Listen.Port != 0 {
		list = append(list, claimed{claim{port: s.Listen.Port}, "listen.port"})
	}
	return list
}

// conflicts returns what the changed apps' desired specs claim that another app
// has, by its desired or its serving generation: until a rollout is complete the
// old one still counts, and may come back. all holds every app as it would be
// after the write.
func conflicts(all map[string]app.Stored, changed []string) []conflict {
	holders := map[claim][]string{}
	for name, a := range all {
		for _, g := range []app.Generation{desiredOf(a), servingOf(a)} {
			for _, c := range claimsOf(g.Spec) {
				if !slices.Contains(holders[c.claim], name) {
					holders[c.claim] = append(holders[c.claim], name)
				}
			}
		}
	}
	var found []conflict
	for _, name := range changed {
		for _, c := range claimsOf(desiredOf(all[name]).Spec) {
			others := slices.DeleteFunc(slices.Clone(holders[c.claim]), func(o string) bool { return o == name })
			if len(others) > 0 {
				slices.Sort(others)
				found = append(found, conflict{claimed: c, app: name, other: others[0]})
			}
		}
	}
	return found
}

// conflict is a claim of two apps.
type conflict struct {
	claimed
	app, other string
}

func (c conflict) violation() app.Violation {
	message := fmt.Sprintf("app %s has the fixed port %d already: choose another or port: 0", c.other, c.port)
	if c.port == 0 {
		message = fmt.Sprintf("app %s has the route %s already: change the host or the path of one of them", c.other, routeName(c.route))
	}
	return app.Violation{Field: "apps." + c.app + "." + c.field, Message: message}
}

func routeName(r app.Route) string {
	if r.Host == "" {
		return "*" + r.Path
	}
	return r.Host + r.Path
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

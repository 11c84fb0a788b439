package supervisor

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// condition is one of an app's conditions.
type condition struct {
	app.Condition
	launch bool // found at a launch: the next one tells whether it still holds
}

// noteConditions makes what the newest process shows the app's conditions.
func (c *controller) noteConditions(found map[string]string) {
	for kind, known := range c.conditions {
		if _, ok := found[kind]; !ok && known.launch {
			c.dropCondition(kind)
		}
	}
	for kind, message := range found {
		c.noteCondition(kind, message, true)
	}
}

// adoptConditions makes what a process of an earlier daemon shows the app's
// conditions: that daemon has told of them.
func (c *controller) adoptConditions(p app.ProcessInfo) {
	maps.DeleteFunc(c.conditions, func(kind string, known condition) bool { return known.launch })
	for kind, message := range p.Conditions {
		c.conditions[kind] = condition{app.Condition{Type: kind, Message: message, Time: p.StartTime}, true}
	}
}

func (c *controller) noteCondition(kind, message string, launch bool) {
	known, ok := c.conditions[kind]
	if !ok {
		known.Type, known.Time = kind, time.Now()
		c.record(app.EventConditionAppeared, app.Warning, "condition "+kind+": "+message)
	}
	known.Message, known.launch = message, launch
	c.conditions[kind] = known
}

// dropCondition forgets a condition that does not hold any more.
func (c *controller) dropCondition(kind string) {
	if _, ok := c.conditions[kind]; ok {
		delete(c.conditions, kind)
		c.record(app.EventConditionDisappear, app.Info, "condition "+kind+" is gone")
	}
}

// conditionFound is a condition that somebody else has found.
type conditionFound struct{ kind, message string }

func (e conditionFound) on(c *controller) { c.noteCondition(e.kind, e.message, false) }

// sortedConditions are the app's conditions by type, a failed rollout included.
func (c *controller) sortedConditions() []app.Condition {
	var list []app.Condition
	for _, known := range c.conditions {
		list = append(list, known.Condition)
	}
	list = append(list, c.folderConditions()...)
	if f := c.stored.Failed; f != nil {
		message := "generation " + number(f.Generation) + ": " + f.Message
		if f.Output != "" {
			message += "\n" + f.Output
		}
		list = append(list, app.Condition{Type: app.CondRolloutFailed, Message: message, Time: f.Time})
	}
	if f := c.stored.RapidFail; f != nil {
		list = append(list, app.Condition{Type: app.CondRapidFail, Message: f.Message, Time: f.Time})
	}
	slices.SortFunc(list, func(a, b app.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return list
}

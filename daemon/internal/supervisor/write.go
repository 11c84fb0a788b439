package supervisor

import (
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// writeKind is what a write asks of a controller.
type writeKind int

const (
	writeTouch   writeKind = iota + 1 // nothing changed: an apply that is repeated
	writeLive                         // a generation that acts at once
	writeRefresh                      // a recycle while nothing serves
	writeReplace                      // a generation that needs new instances
	writeVerify                       // a generation that is to show that it starts
	writeStart
	writeStop
	writeOffline
	writeOnline
	writeFolder // what its folder shows
	writeScale
	writeRemove
)

// write is what the supervisor has stored for an app, and why.
type write struct {
	kind   writeKind
	stored versioned
	reply  chan written // holds one
}

// written answers a write: the app after it, and the rollout to watch, if any.
type written struct {
	app     app.App
	rollout string
}

// on puts the write into effect and answers it once all that follows at once has
// been done.
func (e write) on(c *controller) {
	settled := c.folder.Settled
	c.adopt(e.stored)
	c.removed = e.kind == writeRemove
	c.finishing = false
	c.turnPage()
	switch e.kind {
	case writeFolder:
		c.settled(settled)
	case writeOffline:
		if c.roll == nil {
			c.begin(&rollout{kind: rollOffline}) // it was offline with another page
		}
	case writeTouch, writeLive, writeRefresh:
		c.applied(e.kind)
	case writeReplace:
		c.forgive()
		c.begin(&rollout{kind: rollReplace})
	case writeVerify:
		c.forgive()
		c.demand = max(c.demand, demandOperator)
		c.begin(&rollout{kind: rollReplace, verify: true, bare: true, count: 1})
	case writeStart:
		c.forgive()
		c.demand = max(c.demand, demandOperator)
		c.runs()
	case writeScale:
		c.forfeited, c.withheld = 0, 0
		if c.demand != demandNone || c.roll.replacesAny() {
			c.runs()
		}
	case writeStop, writeRemove:
		c.takeOut(rollStop)
	}
	rollout := ""
	if c.roll != nil && !c.roll.recycles() { // nobody asked for that
		rollout = c.roll.id
	}
	now := time.Now()
	c.turn(now)
	e.reply <- written{app: c.snapshot(now), rollout: rollout}
}

// applied is an apply, or a recycle, that replaces nothing that serves.
func (c *controller) applied(kind writeKind) {
	idle := c.demand == demandNone
	boots := c.serving().Spec.Start.When == app.StartOnBoot && !c.out()
	if kind == writeTouch && c.roll != nil && !c.roll.recycles() {
		return // it is under way
	}
	if kind == writeTouch && len(c.failures.times) == 0 && c.fault == nil && (!idle || !boots) {
		return
	}
	c.forgive()
	if boots {
		c.demand = demandBoot
	}
	switch {
	case c.wanted():
		c.begin(&rollout{kind: rollRun})
	case kind == writeLive && !c.roll.takesOffline():
		c.begin(&rollout{kind: rollRoutes})
	}
}

// runs makes the wanted instances being ready the rollout's end, unless there is
// one under way that ends so anyway.
func (c *controller) runs() {
	if c.roll == nil || c.roll.kind != rollReplace && c.roll.kind != rollRun {
		c.begin(&rollout{kind: rollRun})
	}
}

// takeOut stops every instance, whatever was under way.
func (c *controller) takeOut(kind rolloutKind) {
	c.noDemand()
	c.fault, c.retryAt = nil, time.Time{}
	c.publishAnew() // a proxy that holds an older fault against the app asks again
	c.begin(&rollout{kind: kind})
}

// boot is the daemon's start.
type boot struct{}

func (boot) on(c *controller) {
	if c.serving().Spec.Start.When == app.StartOnBoot && !c.out() {
		c.demand = demandBoot
	}
}

// shutdown stops every instance, with nothing stored.
type shutdown struct{ told chan toStop }

// toStop is what is to be stopped: how many instances, and what one of them may take
// to its end at the most.
type toStop struct {
	instances int
	longest   time.Duration
}

func (e shutdown) on(c *controller) {
	t := toStop{instances: len(c.members)}
	for _, m := range c.members {
		t.longest = max(t.longest, *m.launch.Spec.Stop.Drain+*m.launch.Spec.Stop.Timeout)
	}
	e.told <- t
	c.stopping = true
	c.noDemand()
	c.supersede("the daemon stops")
}

// killAll ends every instance at once.
type killAll struct{}

func (killAll) on(c *controller) {
	for _, m := range c.members {
		now := c.stopOrder(m) // one that did not start ends itself, in its own time
		if m.order.stop != nil {
			now = new(*m.order.stop)
		}
		now.kill = true
		m.stop(now)
	}
}

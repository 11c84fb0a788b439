package supervisor

import (
	"slices"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// keptEnded is how many ended instances of an app are shown.
const keptEnded = 20

// member is an instance as its controller sees it, from the decision to start it
// until nothing of it is left.
type member struct {
	app.Instance // what is shown
	launch       app.Launch
	process      app.Process // nil until it is launched
	orders       chan order
	order        order     // the newest one
	answered     int       // the newest check that was answered
	started      time.Time // on the monotonic clock
	readySince   time.Time
	wasReady     time.Duration // how long it was, when it became unready
	draining     bool          // it was in the set when it was told to stop
	probation    time.Duration // while others take requests: how long it has to be ready before it does; 0: it is over
	published    bool          // it has been in the set
	second       bool          // it was started because another's start failed, see another
	health       checkup
	failing      failing
	due          string    // why it is to be replaced; "": it is not
	told         readiness // what events have told last
	why          string    // it became unready
	shown        app.Instance
}

// readiness is what events have told of whether an instance is ready.
type readiness struct {
	ready   bool
	unready time.Time // when they told last that it was not; zero: never
}

func (m *member) live() bool { return m.Phase < app.PhaseDraining }

// generation is what the instance was started from.
func (m *member) generation() app.Generation {
	return app.Generation{Number: m.Generation, Spec: m.launch.Spec, ResolvedDir: m.launch.Dir}
}

// send gives the instance the member's order. It never blocks: an order that was
// not fetched yet is replaced, and the controller is the only one to send.
func (m *member) send() {
	select {
	case <-m.orders:
	default:
	}
	m.orders <- m.order
}

// check asks the instance to probe again and returns the number of the question.
func (m *member) check() int {
	m.order.check++
	m.send()
	return m.order.check
}

func (m *member) stop(o *stopOrder) {
	m.order.stop = o
	m.send()
}

// readyFor is how long the instance has been ready without a break.
func (m *member) readyFor(now time.Time) time.Duration {
	if m.readySince.IsZero() {
		return 0
	}
	return now.Sub(m.readySince)
}

// member returns an instance that is not gone, or nil.
func (c *controller) member(id app.InstanceID) *member {
	i := slices.IndexFunc(c.members, func(m *member) bool { return m.ID == id })
	if i < 0 {
		return nil
	}
	return c.members[i]
}

// start starts an instance: of the desired generation where it is the rollout's,
// else of the serving one.
func (c *controller) start(a action, second bool) {
	g := c.serving()
	m := &member{orders: make(chan order, 1), second: second}
	notes := map[string]string{}
	if a.rollout {
		g = desiredOf(c.stored)
		m.Rollout, m.probation = c.roll.id, c.probation()
		notes[noteRollout] = m.Rollout
	} else if c.roll.recycles() {
		m.Rollout = c.roll.id // without a note: no later daemon goes on with it
		if *g.Spec.Recycle.Overlap {
			m.probation = c.minReady()
		}
	}
	m.launch = app.Launch{
		ID: newInstanceID(), Generation: g.Number, Spec: g.Spec, Dir: g.ResolvedDir,
		Token: newToken(), PathBase: pathBase(g.Spec), Notes: notes,
	}
	if len(c.members) == 0 {
		c.limited = g.Spec.Logs // it goes with the launch
	}
	m.ID, m.App, m.Generation = m.launch.ID, c.name, g.Number
	m.Phase, m.StartTime, m.Reason = app.PhaseStarting, time.Now(), c.whyStarted(a)
	m.started = m.StartTime
	c.members = append(c.members, m)

	i := c.instance(m)
	c.wg.Go(func() { i.run(c.ctx) })
	c.recordInstance(m, app.EventInstanceStarting, app.Info, "instance starts: "+m.Reason)
}

// instance makes the goroutine's side of a member.
func (c *controller) instance(m *member) *instance {
	return &instance{
		shared: c.shared, launch: m.launch, orders: m.orders, tell: c.post,
		urgent: c.demand != demandBoot || c.established || len(c.waiters) > 0,
		log:    c.log.With("instance", string(m.ID)),
	}
}

// pathBase is the path that the app is told it is reached under.
func pathBase(s app.Spec) string {
	if p := s.PathBase(); p != "/" {
		return p
	}
	return ""
}

func (c *controller) whyStarted(a action) string {
	switch {
	case a.rollout && c.roll.verify:
		return "to verify generation " + number(c.stored.Desired)
	case a.rollout:
		return "rollout of generation " + number(c.stored.Desired)
	case c.roll.recycles():
		return "recycle: " + c.whyDue()
	case c.established && c.failures.streak > 0:
		return "replaces one that ended"
	case c.established:
		return a.reason
	case c.demand == demandRequest:
		return "a request asks for it"
	case c.demand == demandBoot:
		return "start.when: boot"
	}
	return "an operator started it"
}

// whyStopped says why plan stops an instance.
func (c *controller) whyStopped(m *member, a action) string {
	switch {
	case m.due != "" && (a.reason == reasonOutdated || a.reason == reasonMakesRoom):
		return "recycled: " + m.due
	case a.reason != reasonNotWanted:
		return a.reason
	case c.removed:
		return "the app was removed"
	case c.stored.RapidFail != nil:
		return "the app failed too often (restart.on_rapid_fail: stop)"
	case c.stored.Stopped:
		return "an operator stopped the app"
	case c.stopping:
		return "the daemon stops"
	case c.page() != nil:
		return "the app was taken offline"
	}
	return "no request for idle.after"
}

// stopOrder is how a member ends, by what counts now.
func (c *controller) stopOrder(m *member) *stopOrder {
	spec := c.serving().Spec
	o := ownStop(spec, m.Reason)
	if m.draining {
		o.drain, o.revision = *spec.Stop.Drain, c.set.Revision
	}
	return o
}

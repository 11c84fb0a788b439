package supervisor

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/watch"
)

// shared is what all controllers and instances use together.
type shared struct {
	cfg       Config
	gate      *gate
	ports     *portPool
	apps      *watch.Hub[string, app.App]
	instances *watch.Hub[app.InstanceID, app.Instance]
	rollouts  *watch.Hub[string, app.Rollout]
	// commit has the supervisor write down what became of a rollout; false where
	// a newer write has overtaken it.
	commit func(ctx context.Context, name, rollout string, change func(app.Stored) app.Stored) (versioned, bool)
	// stopUnasked stops an app for its failures, durably.
	stopUnasked func(ctx context.Context, name string, version int, why app.RapidFail) (overtaken bool)
	// finish tells the supervisor that a removed app has no instance left.
	finish func(ctx context.Context, c *controller, rollouts []string)
}

// versioned is an app as stored, and what its folder shows; of two versions the
// higher is newer, and of the same the one with the later look.
type versioned struct {
	app.Stored
	version int
	folder  app.FolderState
	look    int
}

// controller owns one app while the daemon runs: what it wants to run against
// what does. All its fields but those of the first group belong to the goroutine
// of run; others send events.
type controller struct {
	*shared
	name   string
	log    hclog.Logger
	ctx    context.Context // ends with the controller, never with a request
	cancel context.CancelFunc
	events chan event
	inUse  atomic.Bool   // a snapshot of serves, for the supervisor
	byHand atomic.Bool   // of runsByHand, likewise
	empty  chan struct{} // closed when the last instance has ended in a shutdown

	wg      sync.WaitGroup // instances and errands
	stored  app.Stored
	version int
	folder  app.FolderState
	look    int       // its number
	unrest  time.Time // since when its watched files change; zero: they are quiet
	unseen  bool      // it was found with instances, and its folder has not been looked at since
	members []*member // oldest first, until gone
	ended   []endedInstance
	roll    *rollout
	past    []string // the last rollouts, oldest first

	demand      demand
	established bool // some instance has been ready since the demand came
	trouble
	waiters   []*waiter
	lastAsked time.Time // when a waiter was last answered
	idleAt    time.Time // when to look for idleness
	sampling  sampling

	removed, stopping, finishing bool
	offline                      bool // its page has been put into effect
	resumes                      bool // it was started by hand before that

	limited    app.Logs        // what the launcher was told of last
	set        app.EndpointSet // published last; its revision is the newest
	conditions map[string]condition
	shown      app.App
}

// trouble is what an app's failures have brought it, until it is forgiven.
type trouble struct {
	failures  failures
	notBefore time.Time  // backoff
	retryAt   time.Time  // until then a failed start is not tried again for a request
	fault     *app.Fault // of the last failed start
	blocked   bool       // it has been told that the app is blocked
	forfeited int        // instances that restart.when does not bring back
	withheld  int        // failed first starts: not tried again before another one is ready

	recycleStreak int       // recycles of the daemon's own that failed in a row
	recycleAfter  time.Time // until then none is tried again
	sickness      sickness
}

// demand is why an app runs.
type demand int

const (
	demandNone     demand = iota
	demandRequest         // somebody asked for it
	demandOperator        // start, or recovered running
	demandBoot            // start.when: boot
)

// event is something that happened; on changes the controller accordingly and
// does nothing that takes time.
type event interface{ on(c *controller) }

func newController(ctx context.Context, s *shared, stored versioned) *controller {
	ctx, cancel := context.WithCancel(ctx)
	c := &controller{
		shared: s, name: stored.Name, log: s.cfg.Log.With("app", stored.Name),
		ctx: ctx, cancel: cancel, events: make(chan event), empty: make(chan struct{}),
		stored: stored.Stored, version: stored.version, folder: stored.folder, look: stored.look,
		conditions: map[string]condition{},
	}
	return c
}

// run is the controller's life: an event, then whatever follows from it. It
// returns when all that it started has ended; processes are left alone.
func (c *controller) run() {
	defer c.failWaiters(func() *app.Fault { return shuttingDown(c.name) })
	defer c.wg.Wait()
	defer c.cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case e := <-c.events:
			e.on(c)
		case <-timer.C:
		}
		timer.Stop()
		if wake := c.turn(time.Now()); !wake.IsZero() {
			timer.Reset(max(time.Until(wake), 0))
		}
	}
}

// post gives an event to the controller; false where it has ended.
func (c *controller) post(e event) bool {
	select {
	case c.events <- e:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// errand does f beside the controller; what it returns comes back as an event.
func (c *controller) errand(f func(ctx context.Context) event) {
	c.wg.Go(func() {
		if e := f(c.ctx); e != nil {
			c.post(e)
		}
	})
}

// turn does all that follows from an event, and returns when to do it again if
// nothing happens. What has changed for the proxies goes out first.
func (c *controller) turn(now time.Time) time.Time {
	c.turnPage()
	c.publish()
	c.endDemand(now)
	c.answerWaiters(now)
	again := c.recordReadiness(now)
	c.lookForIdleness(now)
	again = earliest(again, earliest(c.lookForTriggers(now), c.lookAfterHealth(now)))
	again = earliest(again, c.lookForChanges(now))
	again = earliest(again, c.recycleDue(now))
	d := plan(c.wish(now), c.observe(), now)
	c.carryOut(d.actions)
	if c.advance(now) { // what follows a rollout may be another plan
		again = earliest(again, c.recycleDue(now))
		d = plan(c.wish(now), c.observe(), now)
		c.carryOut(d.actions)
	}
	c.depart()
	c.limitLogs()
	c.show(now)
	wake := earliest(earliest(d.wake, c.idleAt), earliest(c.nextAdmission(), again))
	if until, blocked := c.blockedUntil(now); blocked {
		wake = earliest(wake, until)
	}
	return wake
}

// wish is what the app should have now.
func (c *controller) wish(now time.Time) wish {
	spec := c.serving().Spec
	w := wish{
		run:       c.wanted(),
		count:     max(0, *spec.Instances-c.forfeited-c.withheld),
		exclusive: !*spec.Recycle.Overlap,
		notBefore: c.notBefore,
		hold:      c.folder.Changing != "",
	}
	if c.roll.recycles() {
		w.recycle, w.minReady = true, c.minReady()
	}
	if until, blocked := c.blockedUntil(now); blocked && until.After(w.notBefore) {
		w.notBefore = until
	}
	if r := c.roll; r != nil && r.kind == rollReplace {
		w.rollout = c.replacing()
		w.run = w.run || !c.out()
		if r.bare && !r.committed {
			w.count = 0 // nothing served before
		}
	}
	return w
}

// wanted tells whether the app should run for its own sake.
func (c *controller) wanted() bool { return c.demand != demandNone && !c.out() }

// out tells whether nothing of the app may run.
func (c *controller) out() bool {
	return c.removed || c.stopping || c.stored.Stopped || c.page() != nil
}

func (c *controller) blockedUntil(now time.Time) (time.Time, bool) {
	return c.failures.blockedUntil(*c.serving().Spec.Restart.RapidFailsPerMinute, now)
}

// observe is what there is.
func (c *controller) observe() []seen {
	list := make([]seen, 0, len(c.members))
	for _, m := range c.members {
		list = append(list, seen{
			id: m.ID, phase: m.Phase, rollout: m.Rollout, readySince: m.readySince, settling: m.probation > 0,
			due:     m.due != "",
			current: m.Generation == c.stored.Serving || !replaces(m.generation(), c.serving()),
		})
	}
	return list
}

// carryOut does what plan said. Those to be stopped learn it once the proxies do.
func (c *controller) carryOut(actions []action) {
	var stop []*member
	for _, a := range actions {
		switch {
		case a.id == "":
			c.start(a, false)
		default:
			m := c.member(a.id)
			m.draining = m.Phase >= app.PhaseReady && (m.published || m.Address == "")
			m.Reason = c.whyStopped(m, a)
			m.Phase = app.PhaseStopping
			if m.draining {
				m.Phase = app.PhaseDraining
			}
			stop = append(stop, m)
		}
	}
	c.publish()
	for _, m := range stop {
		m.stop(c.stopOrder(m))
		if m.draining {
			c.recordInstance(m, app.EventInstanceDraining, app.Info, "instance drains: "+m.Reason)
		}
	}
}

// publish gives the proxies the app's set, where it has changed.
func (c *controller) publish() {
	c.inUse.Store(c.serves())
	c.byHand.Store(c.runsByHand())
	c.admit(time.Now())
	set := c.buildSet()
	set.Revision = c.set.Revision
	if !reflect.DeepEqual(set, c.set) {
		c.publishAnew()
	}
}

// publishAnew gives the set a new revision, changed or not: what a proxy holds
// against the app from an older one is forgiven.
func (c *controller) publishAnew() {
	c.admit(time.Now())
	set := c.buildSet()
	set.Revision = c.cfg.Publisher.Publish(set)
	c.set = set
	for _, m := range c.members {
		m.published = m.published || m.takes()
	}
}

// serves tells whether an instance takes requests, or did and may again.
func (c *controller) serves() bool {
	return slices.ContainsFunc(c.members, func(m *member) bool {
		return m.Phase == app.PhaseReady || m.Phase == app.PhaseUnready
	})
}

// serving is the generation whose live fields count.
func (c *controller) serving() app.Generation {
	if g, ok := generation(c.stored, c.stored.Serving); ok {
		return g
	}
	return app.Generation{Spec: app.Spec{Name: c.name}.WithDefaults()} // of an app that is unknown
}

package supervisor

import (
	"context"

	"github.com/roostd/roost/daemon/internal/app"
)

// Activate asks for an endpoint of an app: it starts the app where a request may,
// waits until an instance is ready or the start has failed, and returns the app's
// newest set. The instances in failed are probed again first. epoch and revision
// are those of the set that the caller holds; the answer is right whatever they
// are.
//
// It fails with app.NotFound, with app.WrongState (reasons APP_STOPPED,
// APP_OFFLINE, APP_MANUAL), or with app.Unavailable (START_FAILED, START_TIMEOUT, RAPID_FAIL,
// SHUTTING_DOWN). A caller that leaves cancels nothing.
func (s *Supervisor) Activate(ctx context.Context, name string, _, _ uint64, failed []app.InstanceID) (app.EndpointSet, error) {
	c, err := s.find(ctx, name)
	if err != nil {
		return app.EndpointSet{}, err
	}
	w := &waiter{failed: failed, reply: make(chan activation, 1)}
	if !c.post(activate{w}) {
		return app.EndpointSet{}, notFound(name)
	}
	select {
	case a := <-w.reply:
		if a.fault != nil {
			return app.EndpointSet{}, a.fault
		}
		return a.set, nil
	case <-ctx.Done():
		return app.EndpointSet{}, gaveUpWaiting(ctx)
	}
}

// Failure takes a proxy's report that an instance failed a request: it is probed
// again at once. kind and detail are for people.
func (s *Supervisor) Failure(name string, id app.InstanceID, kind, detail string) {
	s.postTo(name, probeAgain{id, kind, detail})
}

// Condition takes a lasting fact that a probe found out about an app.
func (s *Supervisor) Condition(name string, _ app.InstanceID, kind, message string) {
	s.postTo(name, conditionFound{kind, message})
}

// postTo gives an event to an app's controller, where there is one.
func (s *Supervisor) postTo(name string, e event) {
	s.mu.Lock()
	c := s.controllers[name]
	s.mu.Unlock()
	if c != nil {
		c.post(e)
	}
}

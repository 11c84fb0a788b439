package supervisor

import (
	"context"
	"fmt"
	"syscall"

	"github.com/roostd/roost/daemon/internal/app"
)

// Signal sends a signal to the leader of one instance, or of all of an app's
// where id is "", and returns whom it has reached. app.NotFound where there is no
// such app, or no such instance is running.
func (s *Supervisor) Signal(ctx context.Context, name string, id app.InstanceID, sig syscall.Signal, actor string) ([]app.InstanceID, error) {
	c, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	q := processes{id: id, reply: make(chan []target, 1)}
	if !c.post(q) {
		return nil, notFound(name)
	}
	list := <-q.reply
	if len(list) == 0 {
		return nil, app.Errorf(app.NotFound, app.ReasonNotFound, name, "%s has no such running instance: see roostctl ps %s", name, name)
	}
	var reached []app.InstanceID
	for _, t := range list {
		if err := t.process.Signal(ctx, sig); err != nil {
			return reached, &app.Fault{
				Kind: app.Internal, Reason: app.ReasonInternal, App: name,
				Message: fmt.Sprintf("instance %s of %s was not signalled", t.id, name), Err: err,
			}
		}
		reached = append(reached, t.id)
		s.cfg.Recorder.Record(app.Event{
			ID: app.EventInstanceSignalled, App: name, Instance: t.id, Actor: actor, Severity: app.Info,
			Message: "sent " + app.SignalName(sig), Attributes: t.attributes,
		})
	}
	return reached, nil
}

// target is a process to signal.
type target struct {
	id         app.InstanceID
	process    app.Process
	attributes map[string]string // of an event
}

// processes asks for an app's processes, or for one of them.
type processes struct {
	id    app.InstanceID
	reply chan []target
}

func (e processes) on(c *controller) {
	var list []target
	for _, m := range c.members {
		if m.process != nil && (e.id == "" || e.id == m.ID) {
			list = append(list, target{m.ID, m.process, m.attributes()})
		}
	}
	e.reply <- list
}

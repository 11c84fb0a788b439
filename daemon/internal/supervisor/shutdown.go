package supervisor

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// killPatience is how long StopAll waits for what it has killed.
const killPatience = 5 * time.Second

// StopAll refuses writes from now on, and drains and stops every instance; what
// apps should be stays as it is. When ctx ends, or what an instance may take to its
// end is long over, it kills what is left. It returns how many instances it has
// stopped, and those that not even that has ended.
func (s *Supervisor) StopAll(ctx context.Context) (stopped int, lingering []app.Lingering, err error) {
	all, err := ask(ctx, s, func() ([]*controller, error) {
		s.closing = true
		var all []*controller
		for _, e := range s.entries {
			all = append(all, e.ctl)
		}
		return all, nil
	})
	if err != nil {
		return 0, nil, err
	}
	longest := time.Duration(0)
	for _, c := range all {
		told := make(chan toStop, 1)
		if c.post(shutdown{told}) {
			t := <-told
			stopped += t.instances
			longest = max(longest, t.longest)
		}
	}
	limit, cancel := context.WithTimeout(ctx, longest+2*killPatience)
	defer cancel()
	if awaitEmpty(limit, all) {
		return stopped, nil, nil
	}
	for _, c := range all {
		c.post(killAll{})
	}
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), killPatience)
	defer cancelLast()
	awaitEmpty(last, all)
	look, cancelLook := context.WithTimeout(context.WithoutCancel(ctx), keeperPatience)
	defer cancelLook()
	for _, c := range all {
		told := make(chan []app.Process, 1)
		if closed(c.empty) || !c.post(census{told}) {
			continue
		}
		for _, p := range <-told {
			stopped--
			pids, _ := p.Pids(look) // none where nobody can tell
			lingering = append(lingering, app.Lingering{App: c.name, Instance: p.Info().ID, PIDs: pids})
		}
	}
	return stopped, lingering, nil
}

// awaitEmpty tells whether all controllers were without instances before ctx
// ended.
func awaitEmpty(ctx context.Context, all []*controller) bool {
	for _, c := range all {
		select {
		case <-c.empty:
		case <-c.ctx.Done(): // its app was removed
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// census tells the processes of the instances of which something is left.
type census struct{ told chan []app.Process }

func (e census) on(c *controller) {
	var list []app.Process
	for _, m := range c.members {
		if m.process != nil {
			list = append(list, m.process)
		}
	}
	e.told <- list
}

package supervisor

import (
	"context"
	"time"
)

// killPatience is how long StopAll waits for what it has killed.
const killPatience = 5 * time.Second

// StopAll refuses writes from now on, and drains and stops every instance; what
// apps should be stays as it is. When ctx ends it kills what is left. It returns
// how many instances it has stopped, and the apps of which some linger.
func (s *Supervisor) StopAll(ctx context.Context) (stopped int, lingering []string, err error) {
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
	for _, c := range all {
		n := make(chan int, 1)
		if c.post(shutdown{n}) {
			stopped += <-n
		}
	}
	if awaitEmpty(ctx, all) {
		return stopped, nil, nil
	}
	for _, c := range all {
		c.post(killAll{})
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), killPatience)
	defer cancel()
	awaitEmpty(last, all)
	for _, c := range all {
		n := make(chan int, 1)
		if !closed(c.empty) && c.post(census{n}) {
			left := <-n
			stopped -= left
			lingering = append(lingering, c.name)
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

// census counts the instances of which something is left.
type census struct{ n chan int }

func (e census) on(c *controller) { e.n <- len(c.members) }

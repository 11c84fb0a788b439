package cli

import (
	"context"
	"syscall"
	"time"

	"github.com/roostd/roost/ctl/internal/render"
)

const (
	// killWithin is how long the daemon may take to kill everything, once told to.
	killWithin = 5 * time.Second
	// proxyWithin is how long the proxy may take: its drain, and some.
	proxyWithin = 4 * time.Second
)

// stop ends the proxy, then the daemon with every app. It returns when nothing
// is left, at the second signal sooner.
func (s *session) stop() error {
	if s.proxy.running() {
		if s.daemond.running() {
			s.out.say(render.Dim, "stopping; Ctrl-C again kills")
		}
		s.proxy.signal(syscall.SIGTERM)
		select {
		case <-s.proxy.done:
		case <-s.later:
			s.proxy.signal(syscall.SIGKILL)
			<-s.proxy.done
			return s.stopDaemon(true)
		case <-time.After(proxyWithin):
			s.proxy.signal(syscall.SIGKILL)
			<-s.proxy.done
		}
	}
	if s.daemond.running() {
		return s.stopDaemon(false)
	}
	return s.sweep()
}

// stopDaemon ends the daemon: politely, or at once, as it does at a second signal.
func (s *session) stopDaemon(atOnce bool) error {
	s.daemond.signal(syscall.SIGTERM)
	var limit <-chan time.Time
	for {
		if atOnce && limit == nil {
			s.out.say(render.Yellow, "killing everything")
			s.daemond.signal(syscall.SIGTERM)
			limit = time.After(killWithin)
		}
		select {
		case <-s.daemond.done:
			s.daemond.settle()
			if s.daemond.err != nil && !atOnce {
				return failed(exitFailed, "roostd did not end well (%s): %s", s.daemond.how(), s.daemond.fault())
			}
			return nil
		case <-s.later:
			atOnce = true
		case <-limit:
			s.daemond.signal(syscall.SIGKILL)
			<-s.daemond.done
			return failed(exitFailed, "roostd had to be killed: its apps may run on; \"roostctl up\" finds them again")
		}
	}
}

// sweep stops the apps of a daemon that has died: they run on under its keeper,
// so a new daemon takes them over and ends them.
func (s *session) sweep() error {
	if s.daemond == nil || s.daemond.cmd == nil || s.daemond.address() == "" {
		return nil // it never served: there is nothing of it
	}
	s.out.say(render.Yellow, "roostd is gone: stopping the apps that it left running")
	if err := s.startDaemon(); err != nil {
		return err
	}
	if _, err := s.daemond.listening(context.Background(), upWithin); err != nil {
		if s.daemond.running() {
			return s.stopDaemon(true)
		}
		return err
	}
	return s.stopDaemon(false)
}

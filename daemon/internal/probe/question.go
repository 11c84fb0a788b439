package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// none is the question of an app that has no ready probe.
type none struct{}

func (none) wait(context.Context) error     { return nil }
func (none) missing(context.Context) string { return "" }

// asking repeats a question until the answer is yes.
type asking struct {
	*target
	pace pace
	ask  func(context.Context) error
	last error
}

func (s *asking) wait(ctx context.Context) error {
	return poll(ctx, s.pace, func(ctx context.Context) (bool, error) {
		one, cancel := context.WithTimeout(ctx, s.timeout())
		defer cancel()
		err := s.ask(one)
		if err != nil && !endsNow(ctx) {
			s.last = err // not of a question that the start's end cut short
		}
		return err == nil, nil
	})
}

// endsNow tells whether ctx has ended, or will within the time by which others'
// clocks may be ahead.
func endsNow(ctx context.Context) bool {
	const ahead = 20 * time.Millisecond
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) < ahead
}

func (s *asking) missing(context.Context) string {
	if s.last == nil {
		return fmt.Sprintf("the %s probe got no answer", s.l.Spec.Ready.Kind)
	}
	return fmt.Sprintf("the %s probe failed: %v", s.l.Spec.Ready.Kind, s.last)
}

// network is the net package's name and address for where the instance listens.
func (t *target) network() (network, address string) {
	address = t.address
	if address == "" {
		address = t.info.Address
	}
	if path, ok := unixPath(address); ok {
		return "unix", path
	}
	return "tcp", address
}

// connect is the tcp probe.
func (t *target) connect(ctx context.Context) error {
	network, address := t.network()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// exec is the exec probe.
func (t *target) exec(ctx context.Context) error {
	return t.quoted(t.p.Exec(ctx, t.l.Spec.Ready.Command, t.timeout()))
}

// longestQuote bounds what is told of an answer, in bytes.
const longestQuote = 4 << 10

// quoted is an error that quotes what the app said: people of every role read it,
// so the token is not in it.
func (t *target) quoted(err error) error {
	if err == nil {
		return nil
	}
	text := app.Redact(err.Error(), t.l.Token)
	if len(text) > longestQuote {
		text = strings.ToValidUTF8(text[:longestQuote], "") + " …"
	}
	return errors.New(text)
}

// notified waits for READY=1.
type notified struct{ *target }

func (s *notified) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.p.Notified():
		return nil
	}
}

func (s *notified) missing(context.Context) string {
	return "no process of the app has sent READY=1 to $NOTIFY_SOCKET"
}

// uptime waits until the instance has been running for recycle.min_ready.
type uptime struct{ *target }

func (s *uptime) wait(ctx context.Context) error {
	var least time.Duration
	if d := s.l.Spec.Recycle.MinReady; d != nil {
		least = *d
	}
	timer := time.NewTimer(least)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (s *uptime) missing(context.Context) string {
	return fmt.Sprintf("recycle.min_ready (%s) has not passed: make start.timeout longer", s.l.Spec.Recycle.MinReady)
}

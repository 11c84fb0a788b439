package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// silence is how long a watch may say nothing at all. The daemon's heartbeats
// are several times as frequent.
const silence = 45 * time.Second

// watch follows the daemon until ctx ends. It asks for a snapshot each time: on
// one machine that costs less than the doubt whether a resumed stream is whole.
func (l *Link) watch(ctx context.Context) error {
	var pause pauses
	said := ""
	l.log.Info("daemon link", "state", "connecting")
	for {
		synced, err := l.watchOnce(ctx)
		l.synced.shut()
		if ctx.Err() != nil {
			return nil
		}
		err = l.explain(err)
		if synced {
			pause, said = pauses{}, ""
		}
		if err.Error() != said { // once, not four times a second
			said = err.Error()
			l.log.Warn("daemon link", "state", l.lostState(), "error", err)
		}
		l.conn.ResetConnectBackoff()
		if !sleep(ctx, pause.next()) {
			return nil
		}
	}
}

// lostState is what a link without a daemon is: stale, with what was known last,
// or still connecting.
func (l *Link) lostState() string {
	if l.Blind() {
		return "connecting"
	}
	return "stale"
}

// watchOnce follows one stream to its end, which always has an error. It reports
// whether the stream's snapshot was applied.
func (l *Link) watchOnce(ctx context.Context) (synced bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(silence, func() {
		cancel(fmt.Errorf("the daemon has said nothing for %v", silence))
	})
	defer silent.Stop()

	stream, err := l.client.Watch(ctx, &roostv1.WatchRequest{})
	if err != nil {
		return false, err
	}
	a := assembly{link: l}
	for {
		m, err := stream.Recv()
		if err == nil {
			silent.Reset(silence)
			err = a.take(m)
		}
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return a.synced, err
		}
	}
}

// assembly puts the messages of one stream together.
type assembly struct {
	link   *Link
	synced bool  // a snapshot was complete
	chunks []app // of a snapshot that is not
}

// take handles one message. An error means that the stream is of no use.
func (a *assembly) take(m *roostv1.WatchResponse) error {
	switch m := m.GetMessage().(type) {
	case *roostv1.WatchResponse_Snapshot:
		a.snapshot(m.Snapshot)
	case *roostv1.WatchResponse_Delta:
		return a.delta(m.Delta)
	}
	return nil // a heartbeat, or what a newer daemon has to say
}

func (a *assembly) snapshot(s *roostv1.EndpointsSnapshot) {
	for _, set := range s.GetSets() {
		a.chunks = append(a.chunks, appFrom(set))
	}
	if !s.GetLastChunk() {
		return
	}
	apps := a.chunks
	a.chunks = nil
	a.link.view.replace(s.GetEpoch(), apps)
	if !a.synced {
		a.synced = true
		a.link.synced.open()
		a.link.log.Info("daemon link", "state", "synced", "epoch", s.GetEpoch(), "apps", len(apps), "endpoints", countEndpoints(apps))
	}
}

func (a *assembly) delta(d *roostv1.EndpointsDelta) error {
	if !a.synced {
		return errors.New("the daemon sent a delta before its snapshot was complete")
	}
	// First what is new: a route may have gone from one app to another.
	v := a.link.view
	for _, set := range d.GetUpserts() {
		if !v.apply(appFrom(set)) {
			a.link.log.Warn("set of another epoch ignored", "app", set.GetApp(), "epoch", set.GetEpoch())
		}
	}
	v.remove(d.GetRemoved())
	return nil
}

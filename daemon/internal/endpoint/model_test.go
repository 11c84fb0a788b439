package endpoint

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"pgregory.net/rapid"

	"github.com/roostd/roost/daemon/internal/app"
)

// modelProxy is a known proxy, as simply as it can be told.
type modelProxy struct {
	session  *Session // nil: away
	told     bool
	has      bool
	revision uint64
	inFlight int
}

// Whatever proxies do, in any order: an instance counts as drained exactly when
// every proxy that counts has said so, by itself or by being gone.
func TestRegistry_DrainedMeansThatEveryProxySaidSo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fakes{known: map[string]app.Proxy{}}
		r, err := New(epoch, f, f, f, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		m := model{registry: r, proxies: map[string]*modelProxy{}}
		t.Repeat(map[string]func(*rapid.T){
			"publish": m.publish,
			"remove":  func(*rapid.T) { r.Remove("web"); m.published = false },
			"connect": m.connect,
			"load":    m.load,
			"leave":   m.leave,
			"":        m.check,
		})
	})
}

// model is what a registry should know. Absent proxies count for an hour or not
// at all, so that no time need pass.
type model struct {
	registry  *Registry
	revision  uint64
	published bool
	drain     time.Duration
	proxies   map[string]*modelProxy
}

func (m *model) publish(t *rapid.T) {
	m.drain = rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "drain")
	m.revision, m.published = m.registry.Publish(app.EndpointSet{App: "web", Drain: m.drain}), true
}

func (m *model) pick(t *rapid.T) (string, *modelProxy) {
	id := fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "proxy"))
	return id, m.proxies[id]
}

func (m *model) connect(t *rapid.T) {
	id, p := m.pick(t)
	if p == nil {
		p = &modelProxy{}
		m.proxies[id] = p
	}
	p.session, p.told = m.registry.Connect(app.Proxy{ID: id}), false
}

func (m *model) load(t *rapid.T) {
	_, p := m.pick(t)
	if p == nil || p.session == nil {
		return
	}
	complete := rapid.Bool().Draw(t, "complete")
	if rapid.Bool().Draw(t, "removed") {
		p.session.Load(Load{Removed: []string{"web"}, Complete: complete})
		p.has, p.revision, p.inFlight = false, 0, 0
	} else {
		p.has, p.revision = true, rapid.Uint64Range(0, m.revision).Draw(t, "revision")
		p.inFlight = rapid.IntRange(0, 1).Draw(t, "in flight")
		l := web(p.revision, map[app.InstanceID]int{"i": p.inFlight})
		l.Complete = complete
		p.session.Load(l)
	}
	p.told = p.told || complete
}

func (m *model) leave(t *rapid.T) {
	id, p := m.pick(t)
	if p == nil || p.session == nil {
		return
	}
	if rapid.Bool().Draw(t, "goodbye") {
		p.session.Goodbye()
		delete(m.proxies, id)
		return
	}
	p.session.Close()
	p.session = nil
}

func (m *model) check(t *rapid.T) {
	drained, inFlight := true, 0
	for _, p := range m.proxies {
		if p.has {
			inFlight += p.inFlight
		}
		if p.session == nil && m.drain == 0 {
			continue // nobody waits for it any more
		}
		gone := !p.has && !m.published
		done := p.has && p.inFlight == 0 && (!m.published || p.revision >= m.revision)
		drained = drained && p.told && (gone || done)
	}
	ctx, cancel := expired()
	defer cancel()
	if got := m.registry.WaitDrained(ctx, "web", "i", m.revision) == nil; got != drained {
		t.Fatalf("drained: %v, want %v", got, drained)
	}
	if got := m.registry.InFlight("web", "i"); got != inFlight {
		t.Fatalf("in flight: %d, want %d", got, inFlight)
	}
}

// expired is a context whose end has come: waiting with it is only asking.
func expired() (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.Background(), time.Now())
}

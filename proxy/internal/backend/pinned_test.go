package backend

import (
	"net"
	"sync/atomic"
	"testing"
)

// watched is a connection that tells whether it was closed.
type watched struct {
	net.Conn
	done atomic.Bool
}

func (w *watched) Close() error {
	w.done.Store(true)
	return nil
}

func watch() (c *Conn, closed func() bool) {
	w := new(watched)
	return &Conn{Conn: w}, w.done.Load
}

func TestPinned_IsInNoPoolAndNotInFlight(t *testing.T) {
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(1, 1, ep("i1"))}, func() {})
	p := r.Get("a")
	c, closed := watch()
	l := lease(t, p)
	pin := l.Pin(c)
	if pin.Pool() != p {
		t.Fatalf("Pin: %v", pin)
	}
	l.Release()
	if n := p.Load().InFlight; n != 0 {
		t.Errorf("%d in flight while it waits", n)
	}
	other := lease(t, p)
	if other.Idle() != nil {
		t.Error("a pinned connection was handed to another exchange")
	}
	other.Release()

	claim, got, ok := pin.Claim()
	if !ok || got != c || !c.Reused || claim.Endpoint().Instance != "i1" {
		t.Fatalf("Claim: %v, %v", got, ok)
	}
	if _, _, ok := pin.Claim(); ok {
		t.Error("claimed twice")
	}
	if pin.Close(); closed() {
		t.Error("closed while an exchange has it")
	}
	if load := p.Load(); load.InFlight != 1 || load.Requests != 3 || load.Instances[0] != (InstanceLoad{"i1", 1, 3}) {
		t.Errorf("load %+v", load)
	}
	pin = claim.Pin(c)
	claim.Release()
	if pin.Close(); !closed() {
		t.Error("not closed")
	}
	pin.Close()
	if _, _, ok := pin.Claim(); ok {
		t.Error("claimed after it was closed")
	}
}

func TestPinned_PrivateConnectionsAreNotKept(t *testing.T) {
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(1, 1, ep("i1"))}, func() {})
	p := r.Get("a")
	c, closed := watch()
	c.Private = true
	l := lease(t, p)
	l.Keep(c)
	if l.Release(); !closed() {
		t.Error("not closed")
	}
	if l = lease(t, p); l.Idle() != nil {
		t.Error("a private connection was handed out")
	}
	l.Release()
}

// TestPinned_GoesWithItsEndpoint: whether that drains, is dropped or is the
// app's that is removed, what waits is closed, what is in use is not, and the
// latter is not pinned again.
func TestPinned_GoesWithItsEndpoint(t *testing.T) {
	for name, leave := range map[string]func(*Registry){
		"drained": func(r *Registry) { r.Apply(set(1, 2, draining("i1"), ep("i2"))) },
		"dropped": func(r *Registry) { r.Apply(set(1, 2, ep("i2"))) },
		"removed": func(r *Registry) { r.Remove("a", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			var n notes
			r := NewRegistry(n.add)
			r.Replace([]Set{set(1, 1, ep("i1"))}, func() {})
			p := r.Get("a")
			waits, waitsClosed := watch()
			works, worksClosed := watch()
			l1, l2 := lease(t, p), lease(t, p)
			pin := l1.Pin(waits)
			l1.Release()
			n.take()

			leave(r)
			if !waitsClosed() || worksClosed() {
				t.Errorf("closed: waiting %v, in use %v", waitsClosed(), worksClosed())
			}
			if _, _, ok := pin.Claim(); ok {
				t.Error("claimed after the endpoint left")
			}
			pin.Close()
			if load := r.Loads()[0]; load.InFlight != 1 {
				t.Errorf("load %+v", load)
			}
			n.take()
			if pin = l2.Pin(works); !worksClosed() {
				t.Error("pinned to an endpoint that has left")
			}
			if _, _, ok := pin.Claim(); ok {
				t.Error("claimed although it never waited")
			}
			if l2.Release(); n.take() != 1 {
				t.Error("the end of the last exchange was not reported")
			}
		})
	}
}

func TestPinned_AnEndpointThatIsBackTakesNewOnes(t *testing.T) {
	r := NewRegistry(func(string) {})
	r.Replace([]Set{set(1, 1, ep("i1"))}, func() {})
	p := r.Get("a")
	l := lease(t, p)
	r.Apply(set(1, 2, draining("i1")))
	r.Apply(set(1, 3, ep("i1")))
	c, closed := watch()
	pin := l.Pin(c)
	l.Release()
	if closed() {
		t.Fatal("not pinned")
	}
	if claim, _, ok := pin.Claim(); !ok {
		t.Error("not claimed")
	} else {
		claim.Release()
	}
}

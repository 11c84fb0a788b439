package endpoint

import (
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestRequests_AreSummedOverProxiesAndTheirLives(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *Registry, _ *fakes) {
		told := func(n uint64) Load {
			return Load{Apps: []AppLoad{{App: "web", Epoch: epoch, Revision: 1, Instances: map[app.InstanceID]InstanceLoad{"i": {Requests: n}}}}}
		}
		want := func(when string, n uint64) {
			t.Helper()
			if got := r.Requests("i"); got != n {
				t.Fatalf("%s: %d requests, want %d", when, got, n)
			}
		}
		a := connect(r, "a", 1)
		a.Load(told(3))
		want("not published", 0)
		r.Publish(app.EndpointSet{App: "web", Endpoints: []app.Endpoint{{Instance: "i"}}})
		a.Load(told(5))
		want("one proxy", 5)
		b := connect(r, "b", 2)
		b.Load(told(10))
		a.Load(told(6))
		want("two proxies", 16)
		a.Close()
		a = connect(r, "a", 1)
		a.Load(told(7))
		want("the same proxy is back", 17)
		a.Close()
		a = connect(r, "a", 3)
		a.Load(told(8))
		want("it was started anew", 25)
		b.Load(told(2))
		want("it has forgotten the instance meanwhile", 27)
		b.Goodbye()
		want("one has left", 27)
		r.Publish(app.EndpointSet{App: "web"})
		want("it takes no more", 27)
		r.Ended("i")
		a.Load(told(9))
		want("it has ended", 0)
	})
}

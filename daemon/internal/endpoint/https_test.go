package endpoint

import (
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestRegistry_HTTPSPortIsTheOneOfAllProxies(t *testing.T) {
	known := []app.Proxy{{ID: "a", PID: 1, Listeners: []app.ProxyListener{{Port: 80}, {TLS: true, Port: 443}, {TLS: true, Port: 443}}}}
	inBubble(t, known, func(t *testing.T, r *Registry, _ *fakes) {
		wants := func(when string, want int) {
			t.Helper()
			if got := r.HTTPSPort(); got != want {
				t.Errorf("%s: %d, want %d", when, got, want)
			}
		}
		wants("one port", 443)
		b := r.Connect(app.Proxy{ID: "b", PID: 2, Listeners: []app.ProxyListener{{TLS: true, Port: 443}}})
		wants("two proxies with the same one", 443)
		b.Goodbye()
		b = r.Connect(app.Proxy{ID: "b", PID: 2, Listeners: []app.ProxyListener{{TLS: true, Port: 8443}}})
		wants("two ports", 0)
		b.Goodbye()
		wants("the other has left", 443)
		a := r.Connect(app.Proxy{ID: "a", PID: 1, Listeners: []app.ProxyListener{{Port: 80}}})
		wants("none", 0)
		a.Goodbye()
	})
}

package discovery

import (
	"testing"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/route"
)

// A report of a new revision is what an apply waits for: whoever is told that it
// is complete must find the app.
func TestView_NoLoadIsReadBeforeItsRoutesAreThere(t *testing.T) {
	var v *view
	changes := 0
	read := make(chan []backend.Load)
	hurried := func(string) { // the reporter, as fast as it may be
		changes++
		go func() { read <- v.loads() }()
		select {
		case <-read:
			t.Fatal("a load was read while the routes were not there")
		case <-time.After(20 * time.Millisecond):
		}
	}
	v = newView(backend.NewRegistry(hurried))
	rules := []route.Rule{{Host: "web.test", Path: "/"}}
	for name, change := range map[string]func(){
		"snapshot": func() { v.replace(1, []app{{Set: backend.Set{App: "web", Revision: 1}, Routes: rules}}) },
		"delta": func() {
			v.apply(app{Set: backend.Set{App: "web", Epoch: v.currentEpoch(), Revision: 2}, Routes: rules})
		},
	} {
		changes = 0
		v.remove([]string{"web"})
		for range changes {
			<-read
		}
		changes = 0
		change()
		if changes == 0 {
			t.Fatalf("%s: nobody was told", name)
		}
		for range changes {
			if loads := <-read; len(loads) == 0 || loads[0].Revision == 0 {
				t.Errorf("%s: loads %+v", name, loads)
			}
		}
		if _, ok := v.routes.Load().Lookup([]byte("web.test"), []byte("/")); !ok {
			t.Errorf("%s: no route", name)
		}
	}
}

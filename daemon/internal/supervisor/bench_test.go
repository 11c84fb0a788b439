package supervisor

import (
	"strconv"
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

// BenchmarkActivate is what the policy itself adds to a cold start: from demand to
// answer, with processes that are ready at once.
func BenchmarkActivate(b *testing.B) {
	r := &rig{t: b, host: newHost(), proxies: newProxies(), folders: newFolders(), recorder: &fakeRecorder{}, disk: newStore()}
	r.host.behave(script{})
	r.start()
	defer func() { r.end() }()
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		name := "web" + strconv.Itoa(n)
		if _, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec(name)}}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, f := r.activate(name); f != nil {
			b.Fatal(f)
		}
		b.StopTimer()
		if _, err := r.Delete(ctx, name, "", ""); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

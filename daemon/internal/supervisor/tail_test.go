package supervisor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/roostd/roost/daemon/internal/app"
)

// A failed start shows much of what the app wrote where somebody looks for it, and
// little where many of them are kept.
func TestStartFailed_CarriesTheLastOutput(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.recorder.noise = "a line of noise\n"
		r.apply(spec("web"))
		r.host.behave(script{boot: -1, exitAfter: 500 * time.Millisecond, code: 3})
		_, f := r.activate("web")
		wantReason(t, f, app.ReasonStartFailed)
		long := func(what, text string) {
			t.Helper()
			if len(text) != startTail || !strings.Contains(text, "output of") {
				t.Errorf("%s has %d bytes of output, want %d", what, len(text), startTail)
			}
		}
		long("the answer", f.Detail)
		r.recorder.mu.Lock()
		events := r.recorder.events
		r.recorder.mu.Unlock()
		found := 0
		for _, e := range events {
			if e.ID != app.EventStartFailed {
				continue
			}
			found++
			long("the event", e.Attributes["output"])
			if e.Attributes["step"] != "exit" || e.Severity != app.Error {
				t.Errorf("event %+v, want the step that failed", e)
			}
		}
		if found != 1 {
			t.Errorf("%d events, want one", found)
		}
		synctest.Wait() // who waits is answered first
		for _, i := range r.Instances().All() {
			if len(i.OutputTail) > tailBytes || !strings.HasPrefix(i.OutputTail, "a line") {
				t.Errorf("the instance keeps %d bytes, beginning with %.20q", len(i.OutputTail), i.OutputTail)
			}
		}
	})
}

// A rollout that is rolled back shows as much.
func TestRollout_FailedOneCarriesTheLastOutput(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.recorder.noise = "a line of noise\n"
		r.up(spec("web"))
		r.host.behave(script{boot: -1, exitAfter: 500 * time.Millisecond, code: 3})
		next := spec("web")
		next.Release = "2"
		roll := r.ends(r.apply(next)[0].Rollout, app.RolloutFailed)
		condition := ""
		for _, c := range r.app("web").Conditions {
			if c.Type == app.CondRolloutFailed {
				condition = c.Message
			}
		}
		if len(roll.Output) != startTail || !strings.HasSuffix(condition, roll.Output) {
			t.Errorf("%d bytes with the rollout, %d with the condition, want %d", len(roll.Output), len(condition), startTail)
		}
	})
}

func TestShortTail(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"short\n", "short\n"},
		{strings.Repeat("x", 100) + "\n" + strings.Repeat("y", tailBytes-1), strings.Repeat("y", tailBytes-1)},
		{strings.Repeat("ü", tailBytes/2+7), strings.Repeat("ü", tailBytes/2)},
		{strings.Repeat("ü", tailBytes/2) + "z", strings.Repeat("ü", tailBytes/2-1) + "z"},
		{strings.Repeat("x", tailBytes) + "\n", strings.Repeat("x", tailBytes-1) + "\n"},
	} {
		if got := shortTail(tt.text); got != tt.want || !utf8.ValidString(got) {
			t.Errorf("%d bytes beginning with %.8q, want %d beginning with %.8q", len(got), got, len(tt.want), tt.want)
		}
	}
}

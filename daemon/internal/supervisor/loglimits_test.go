package supervisor

import (
	"slices"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func logs(size int64, files int) func(*app.Spec) {
	return func(s *app.Spec) { s.Logs = app.Logs{MaxSize: size, MaxFiles: &files} }
}

// Limits of output need no new instance: the launcher is told, and told again by the
// next daemon, which may have missed it.
func TestLogs_LimitsActLive(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web", logs(8192, 2)))
		if len(r.host.limited) > 0 {
			t.Errorf("told %v beside the launch", r.host.limited)
		}
		r.host.limitFails = true
		launches := r.host.count()
		r.apply(spec("web", logs(16384, 3)))
		r.pass(limitAgain + time.Second)
		if want := []string{"web 16384 3"}; !slices.Equal(r.host.limited, want) || r.host.count() != launches {
			t.Errorf("told %v after %d more launches, want %v and none", r.host.limited, r.host.count()-launches, want)
		}
		r.reboot()
		r.pass(time.Second)
		if want := []string{"web 16384 3", "web 16384 3"}; !slices.Equal(r.host.limited, want) {
			t.Errorf("told %v, want %v", r.host.limited, want)
		}
	})
}

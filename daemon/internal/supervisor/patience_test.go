package supervisor

import (
	"strings"
	"testing"

	"github.com/roostd/roost/daemon/internal/app"
)

func TestDeadMount_DoesNotHoldUpOtherWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"), spec("other"))
		dead := make(chan struct{})
		defer close(dead)
		r.host.dead, r.folders.dead = dead, dead

		_, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("third")}})
		if app.KindOf(err) != app.Invalid || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("apply to a folder that does not answer: %v", err)
		}
		if _, _, err = r.Recycle(ctx, "web", ""); app.KindOf(err) != app.WrongState {
			t.Errorf("recycle in a folder that does not answer: %v", err)
		}
		_, id, err := r.Stop(ctx, "other", "")
		if err != nil {
			t.Fatal(err)
		}
		r.ends(id, app.RolloutComplete)
	})
}

func TestDeadMount_DoesNotKeepADaemonFromItsStart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.up(spec("web"))
		dead := make(chan struct{})
		defer close(dead)
		r.folders.dead = dead
		r.reboot()
		r.wantState("web", app.StateRunning)
		r.folders.page("web", "back soon")
		r.wantState("web", app.StateOffline)
	})
}

func TestApply_RefusesAFolderWhoseNameCannotBeKept(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.link("/srv/web", "/srv/caf\xe9")
		_, err := r.Apply(ctx, ApplyRequest{Specs: []app.Spec{spec("web")}})
		if app.KindOf(err) != app.Invalid || !strings.Contains(err.Error(), `caf\xe9`) {
			t.Errorf("a folder whose name is no UTF-8: %v", err)
		}
	})
}

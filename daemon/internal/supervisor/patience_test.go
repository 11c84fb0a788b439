package supervisor

import (
	"fmt"
	"strings"
	"testing"
	"time"

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

// Many apps on a mount that is dead take no longer than one, and whoever asks for
// another app does not wait for them at all.
func TestDeadMount_CostsOtherAppsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var specs []app.Spec
		for i := range 20 {
			specs = append(specs, spec(fmt.Sprintf("web%d", i)))
		}
		r.up(append(specs, spec("other"))...)
		dead := make(chan struct{})
		r.host.dead, r.folders.dead = dead, dead
		takes := func(what string, want time.Duration, do func()) {
			t.Helper()
			began := time.Now()
			do()
			if took := time.Since(began); took != want {
				t.Errorf("%s takes %v, want %v", what, took, want)
			}
		}
		takes("a start of the daemon", folderPatience, r.reboot)

		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := r.Apply(ctx, ApplyRequest{Specs: specs})
			if app.KindOf(err) != app.Invalid || strings.Count(err.Error(), "does not answer") != len(specs) {
				t.Errorf("apply to folders that do not answer: %v", err)
			}
		}()
		r.pass(time.Millisecond)
		takes("a write to another app", 0, func() {
			if _, _, err := r.Scale(ctx, "other", 2, ""); err != nil {
				t.Error(err)
			}
		})
		takes("the apply", folderPatience-time.Millisecond, func() { <-done })
		recycled := func() error {
			_, _, err := r.Recycle(ctx, "web3", "")
			return err
		}
		takes("a recycle of what is known not to answer", 0, func() {
			if err := recycled(); app.KindOf(err) != app.WrongState {
				t.Errorf("recycle in a folder that does not answer: %v", err)
			}
		})

		close(dead)
		r.host.dead, r.folders.dead = nil, nil
		r.pass(time.Millisecond)
		if err := recycled(); err != nil {
			t.Errorf("recycle in a folder that answers again: %v", err)
		}
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

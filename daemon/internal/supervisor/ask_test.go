package supervisor

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

func hosted(timeout time.Duration) func(*app.Spec) {
	return func(s *app.Spec) { s.Preset, s.Stop.Timeout = app.PresetASPNETCore, &timeout }
}

// answers has the shutdown request answered, and the process end so long after; it
// stays for a negative time.
func answers(status int, ends time.Duration) func(context.Context, *fakeProcess) (int, error) {
	return func(_ context.Context, p *fakeProcess) (int, error) {
		if ends >= 0 {
			time.AfterFunc(ends, func() { p.end(app.Exit{}) })
		}
		return status, nil
	}
}

func hangs(ctx context.Context, _ *fakeProcess) (int, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

func TestStop_ByTheShutdownRequest(t *testing.T) {
	const limit = 8 * time.Second
	tests := map[string]struct {
		script  script
		takes   time.Duration
		signals int
		killed  bool
		says    string
		request string
	}{
		"accepted":             {script{shutdown: answers(202, 3*time.Second)}, 3 * time.Second, 0, false, "(by the shutdown request, which it accepted with 202)", "202"},
		"accepted, never ends": {script{shutdown: answers(202, -1)}, limit, 0, true, "(by the shutdown request, which it accepted with 202)", "202"},
		"refused":              {script{shutdown: answers(403, -1), stop: time.Second}, time.Second, 1, false, "(by SIGTERM, as it answered the shutdown request with 403)", "403"},
		"missing":              {script{shutdown: answers(404, -1), stop: time.Second}, time.Second, 1, false, "with 404", "404"},
		"answered by the app":  {script{shutdown: answers(200, -1), stop: time.Second}, time.Second, 1, false, "with 200", "200"},
		"refused, never ends":  {script{shutdown: answers(404, -1), stop: -1}, limit, 1, true, "(by SIGTERM, as it answered the shutdown request with 404)", "404"},
		"no connection":        {script{stop: time.Second}, time.Second, 1, false, "(by SIGTERM, as the shutdown request failed: connection refused)", "failed"},
		"hangs":                {script{shutdown: hangs, stop: time.Second}, limit/2 + time.Second, 1, false, "(by SIGTERM, as the shutdown request failed:", "failed"},
		"hangs, never ends":    {script{shutdown: hangs, stop: -1}, limit, 1, true, "(by SIGTERM, as the shutdown request failed:", "failed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.host.behave(tt.script)
				r.up(spec("web", hosted(limit)))
				p := r.wantAlive(1)[0]
				began := time.Now()
				_, id, err := r.Stop(ctx, "web", "")
				if err != nil {
					t.Fatal(err)
				}
				<-p.gone
				if took := time.Since(began); took != tt.takes {
					t.Errorf("it took %v, want %v", took, tt.takes)
				}
				r.ends(id, app.RolloutComplete)
				if len(p.signals) != tt.signals || p.wasKilled() != tt.killed {
					t.Errorf("signals %v, killed %v", p.signals, p.wasKilled())
				}
				e := r.recorder.last(app.EventInstanceExited)
				if !strings.Contains(e.Message, tt.says) || e.Attributes["shutdown_request"] != tt.request || e.Severity != app.Info {
					t.Errorf("event %+v, want %q and %q", e, tt.says, tt.request)
				}
				if got := r.recorder.message(app.EventInstanceKilled); tt.killed != strings.Contains(got, "within stop.timeout (8s)") {
					t.Errorf("killed: %q", got)
				}
			})
		})
	}
}

func TestStop_AnAppWithoutTimeToEndIsKilledAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{stop: -1, shutdown: hangs})
		r.up(spec("web", hosted(0)))
		p := r.wantAlive(1)[0]
		began := time.Now()
		_, id, _ := r.Stop(ctx, "web", "")
		<-p.gone
		if took := time.Since(began); took != 0 || !p.wasKilled() {
			t.Errorf("it took %v", took)
		}
		r.ends(id, app.RolloutComplete)
	})
}

func TestStop_NobodyIsAskedThatWasNeverReady(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.apply(spec("web", hosted(8*time.Second)))
		r.host.behave(script{boot: time.Hour, shutdown: answers(202, 0)})
		go func() { _, _ = r.activate("web") }()
		synctest.Wait()
		p := r.wantAlive(1)[0]
		_, id, _ := r.Stop(ctx, "web", "")
		r.ends(id, app.RolloutComplete)
		if len(p.signals) != 1 || p.signals[0] != syscall.SIGTERM {
			t.Errorf("signals %v", p.signals)
		}
	})
}

func TestStop_ANewDaemonAsksToo(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{shutdown: answers(202, time.Second)})
		r.up(spec("web", hosted(8*time.Second)))
		p := r.wantAlive(1)[0]
		r.reboot()
		_, id, _ := r.Stop(ctx, "web", "")
		r.ends(id, app.RolloutComplete)
		if e := r.recorder.last(app.EventInstanceExited); e.Attributes["shutdown_request"] != "202" || len(p.signals) > 0 {
			t.Errorf("%+v, signals %v", e, p.signals)
		}
	})
}

func TestStop_TheRequestDoesNotOutliveTheDaemonsPatience(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{stop: -1, shutdown: hangs})
		r.up(spec("web", hosted(time.Minute)))
		limit, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began := time.Now()
		if _, _, err := r.StopAll(limit); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if got := r.recorder.message(app.EventInstanceKilled); !strings.Contains(got, "the daemon ends before stop.timeout (1m0s) of the shutdown request is over") {
			t.Errorf("killed: %q", got)
		}
	})
}

func TestStop_TheAnswerOfOneThatEndsAtOnceCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.host.behave(script{shutdown: func(_ context.Context, p *fakeProcess) (int, error) {
			p.end(app.Exit{})
			time.Sleep(lastAnswer / 2)
			return 202, nil
		}})
		r.up(spec("web", hosted(8*time.Second)))
		_, id, _ := r.Stop(ctx, "web", "")
		r.ends(id, app.RolloutComplete)
		if e := r.recorder.last(app.EventInstanceExited); e.Attributes["shutdown_request"] != "202" {
			t.Errorf("%+v", e)
		}
	})
}

func TestLaunch_KnowsTheProxiesHTTPSPort(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.proxies.update(func() { r.proxies.https = 8443 })
		r.up(spec("web", hosted(time.Second)))
		if p := r.wantAlive(1)[0]; p.launch.HTTPSPort != 8443 {
			t.Errorf("port %d", p.launch.HTTPSPort)
		}
	})
}

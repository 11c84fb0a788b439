package discovery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/activator"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
)

// answer has the daemon answer Activate with s or err.
func answer(d *fakedaemon.Daemon, s *roostv1.EndpointSet, err error) {
	d.OnActivate = func(context.Context, *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error) {
		return &roostv1.ActivateResponse{Set: s}, err
	}
}

func TestActivate_AppliesTheAnswer(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1))
	s := set("a", 2, "a1")
	s.Epoch = 1
	answer(d, s, nil)
	inBubble(t, d, func(t *testing.T, r *rig) {
		<-r.Synced()
		if err := r.Activate(t.Context(), "a", 1, 1, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		if got := r.acquire("a"); got != "a1" {
			t.Errorf("a is at %q, want a1", got)
		}
		q := d.Asked()[0]
		if q.App != "a" || q.Epoch != 1 || q.Revision != 1 || len(q.FailedInstances) != 1 {
			t.Errorf("the daemon was asked %v", q)
		}
		// What the watch brought already is as good an answer.
		if err := r.Activate(t.Context(), "a", 1, 2, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestActivate_AnswerOfAnotherEpochIsDropped(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1))
	s := set("a", 9, "stranger")
	s.Epoch = 2
	answer(d, s, nil)
	inBubble(t, d, func(t *testing.T, r *rig) {
		<-r.Synced()
		err := r.Activate(t.Context(), "a", 1, 1, nil)
		if _, refused := errors.AsType[*activator.Failure](err); err == nil || refused {
			t.Errorf("Activate = %v, want an error that leaves the question open", err)
		}
		if got := r.acquire("a"); got != "" {
			t.Errorf("a is at %q", got)
		}
	})
}

func TestActivate_AnswerDoesNotBringARemovedAppBack(t *testing.T) {
	d := fakedaemon.New(1, set("a", 1))
	d.OnActivate = func(context.Context, *roostv1.ActivateRequest) (*roostv1.ActivateResponse, error) {
		d.Remove("a")
		synctest.Wait() // the proxy knows
		s := set("a", 2, "a1")
		s.Epoch = 1
		return &roostv1.ActivateResponse{Set: s}, nil
	}
	inBubble(t, d, func(t *testing.T, r *rig) {
		<-r.Synced()
		_ = r.Activate(t.Context(), "a", 1, 1, nil)
		if r.Registry().Get("a") != nil || r.lookup("a", "/") != "" {
			t.Error("the app is back")
		}
	})
}

func TestActivate_Refusals(t *testing.T) {
	now := map[string]string{"epoch": "1", "revision": "4", "detail": "boom"}
	for name, tt := range map[string]struct {
		err  error
		code string // "": the question is open
	}{
		"stopped":       {fakedaemon.Refusal(codes.FailedPrecondition, "APP_STOPPED", 0, now), "stopped"},
		"manual":        {fakedaemon.Refusal(codes.FailedPrecondition, "APP_MANUAL", 0, now), "stopped"},
		"offline":       {fakedaemon.Refusal(codes.FailedPrecondition, "APP_OFFLINE", 0, now), "offline"},
		"failed":        {fakedaemon.Refusal(codes.Unavailable, "START_FAILED", time.Second, now), "start-failed"},
		"timeout":       {fakedaemon.Refusal(codes.Unavailable, "START_TIMEOUT", time.Second, now), "start-timeout"},
		"rapid fail":    {fakedaemon.Refusal(codes.Unavailable, "RAPID_FAIL", time.Second, now), "rapid-fail"},
		"unknown app":   {fakedaemon.Refusal(codes.NotFound, "APP_NOT_FOUND", 0, now), "no-route"},
		"plain":         {status.Error(codes.NotFound, "no"), "no-route"},
		"other epoch":   {fakedaemon.Refusal(codes.Unavailable, "START_FAILED", 0, map[string]string{"epoch": "2"}), ""},
		"no reason":     {status.Error(codes.Unavailable, "going down"), ""},
		"not permitted": {status.Error(codes.PermissionDenied, "no role"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := fakedaemon.New(1, set("a", 1))
			answer(d, nil, tt.err)
			inBubble(t, d, func(t *testing.T, r *rig) {
				<-r.Synced()
				err := r.Activate(t.Context(), "a", 1, 1, nil)
				f, refused := errors.AsType[*activator.Failure](err)
				switch {
				case tt.code == "":
					if err == nil || refused {
						t.Errorf("Activate = %v, want an error that leaves the question open", err)
					}
					return
				case !refused || f.Code != tt.code || f.Message == "":
					t.Fatalf("Activate = %#v, want a Failure with %s", err, tt.code)
				}
				if name == "plain" {
					return
				}
				if f.Code != "no-route" && f.Message != status.Convert(tt.err).Message() {
					t.Errorf("Message %q, want the daemon's reason", f.Message)
				}
				if f.Epoch != 1 || f.Revision != 4 || f.Detail != "boom" {
					t.Errorf("Failure %+v lacks what the daemon said", f)
				}
				waits := status.Code(tt.err) == codes.Unavailable
				if waits != f.RetryAt.Equal(time.Now().Add(time.Second)) {
					t.Errorf("RetryAt %v, want in 1s: %v", f.RetryAt, waits)
				}
			})
		})
	}
}

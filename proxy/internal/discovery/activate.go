package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/activator"
)

var _ activator.Starter = (*Link)(nil)

// errOtherEpoch is an answer of another daemon than the one that the proxy is
// synced with. The question is asked again once it is.
var errOtherEpoch = errors.New("the daemon was started again meanwhile")

// Synced is closed while the daemon can be asked, see activator.Starter.
func (l *Link) Synced() <-chan struct{} { return l.synced.wait() }

// Activate has the daemon start an app and applies the set it answers with, see
// activator.Starter.
func (l *Link) Activate(ctx context.Context, app string, epoch, revision uint64, failed []string) error {
	r, err := l.client.Activate(ctx, &roostv1.ActivateRequest{
		App: app, Epoch: epoch, Revision: revision, FailedInstances: failed,
	})
	if err != nil {
		return l.refusal(app, err)
	}
	if r.GetSet().GetApp() != app {
		return fmt.Errorf("the daemon answered with a set of %q when asked for %q", r.GetSet().GetApp(), app)
	}
	if !l.view.answer(appFrom(r.GetSet())) {
		return errOtherEpoch
	}
	return nil
}

// refusals are the answers to a client by the reason of the daemon's error. The
// messages stand in for a daemon that gives none: its own says which app and why,
// for the log, and for the pages of apps in development.
var refusals = map[string]activator.Failure{
	"APP_STOPPED":   {Code: "stopped", Message: "the app is stopped"},
	"APP_OFFLINE":   {Code: "offline", Message: "the app is offline"},
	"APP_MANUAL":    {Code: "stopped", Message: "the app is started by its operator only"},
	"START_FAILED":  {Code: "start-failed", Message: "the app could not be started"},
	"START_TIMEOUT": {Code: "start-timeout", Message: "the app did not get ready in time"},
	"RAPID_FAIL":    {Code: "rapid-fail", Message: "the app failed too often and is not started for a while"},
}

// refusal returns the *activator.Failure that a failed Activate stands for, or
// another error where the daemon has not decided.
func (l *Link) refusal(app string, err error) error {
	s := status.Convert(err)
	info, retry := details(s)
	failure, known := refusals[info.GetReason()]
	switch {
	case known:
		failure.Message = cmp.Or(s.Message(), failure.Message)
	case s.Code() == codes.NotFound:
		failure = activator.Failure{Code: "no-route", Message: "there is no such app"}
	default:
		if s.Code() != codes.Unavailable && s.Code() != codes.Canceled {
			l.log.Warn("activation failed", "app", app, "code", s.Code(), "error", s.Message())
		}
		return err
	}
	failure.Epoch = number(info, "epoch")
	failure.Revision = number(info, "revision")
	if failure.Epoch != 0 && failure.Epoch != l.view.currentEpoch() {
		return errOtherEpoch
	}
	failure.Detail = info.GetMetadata()["detail"]
	if retry != nil {
		failure.RetryAt = time.Now().Add(retry.GetRetryDelay().AsDuration())
	}
	return &failure
}

func details(s *status.Status) (info *errdetails.ErrorInfo, retry *errdetails.RetryInfo) {
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	return info, retry
}

// number is 0 where the daemon did not say.
func number(info *errdetails.ErrorInfo, key string) uint64 {
	n, _ := strconv.ParseUint(info.GetMetadata()[key], 10, 64)
	return n
}

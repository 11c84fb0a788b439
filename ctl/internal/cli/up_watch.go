package cli

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"

	"github.com/roostd/roost/ctl/internal/render"
)

// watcher shows what the apps write and what happens, until its streams end.
type watcher struct {
	*session
	all sync.WaitGroup
	mu  sync.Mutex
	has map[string]bool // apps whose output is being read

	said map[string]bool // conditions of the host that were shown, whichever app had them first
}

// watch begins to show. The streams end with the daemon, or with ctx.
func (s *session) watch(ctx context.Context) *watcher {
	w := &watcher{session: s, has: map[string]bool{}, said: map[string]bool{}}
	w.all.Go(func() { w.watchApps(ctx) })
	w.all.Go(func() { w.watchEvents(ctx) })
	return w
}

func (w *watcher) wait() { w.all.Wait() }

// watchApps begins to read the output of every app that there is, or comes.
func (w *watcher) watchApps(ctx context.Context) {
	stream, err := w.apps().WatchApps(ctx, &roostv1.WatchAppsRequest{})
	for err == nil {
		var resp *roostv1.WatchAppsResponse
		if resp, err = stream.Recv(); err != nil {
			return
		}
		for _, a := range append(resp.GetSnapshot().GetApps(), resp.GetDelta().GetUpserts()...) {
			w.follow(ctx, a.GetName())
		}
	}
}

func (w *watcher) follow(ctx context.Context, app string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.has[app] {
		return
	}
	w.has[app] = true
	w.all.Go(func() {
		w.readApp(ctx, app)
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.has, app) // it may come again under its name
	})
}

func (w *watcher) readApp(ctx context.Context, app string) {
	stream, err := w.logs().ReadLogs(ctx, &roostv1.ReadLogsRequest{App: app, Since: timestamppb.New(w.began), Follow: true})
	for err == nil {
		var resp *roostv1.ReadLogsResponse
		if resp, err = stream.Recv(); err != nil {
			return
		}
		if d := resp.GetDropped(); d != nil {
			w.out.say(render.Yellow, "%s: %s", app, missing(d))
		}
		for _, e := range resp.GetBatch().GetEntries() {
			w.out.write(app, app+"/"+e.GetInstance()+"/"+e.GetStream().String(), e.GetData())
		}
	}
}

func (w *watcher) watchEvents(ctx context.Context) {
	stream, err := w.events().ReadEvents(ctx, &roostv1.ReadEventsRequest{Since: timestamppb.New(w.began.Add(-time.Second)), Follow: true})
	for err == nil {
		var resp *roostv1.ReadEventsResponse
		if resp, err = stream.Recv(); err != nil {
			return
		}
		if e := resp.GetEvent(); e != nil {
			w.showEvent(e)
		}
	}
}

// showEvent shows what a developer wants to know: what becomes of the processes,
// and everything that is not as it should be.
func (w *watcher) showEvent(e *roostv1.Event) {
	st := severityStyle(e.GetSeverity())
	if st == render.Plain {
		if e.GetInstance() == "" {
			return
		}
		st = render.Dim
	}
	if e.GetId() == "ConditionAppeared" && e.GetInstance() == "" {
		if w.said[e.GetMessage()] {
			return
		}
		w.said[e.GetMessage()] = true
	}
	if e.GetApp() == "" {
		w.out.say(st, "%s", render.Clean(e.GetMessage()))
		return
	}
	w.out.say(st, "%s: %s", render.Clean(e.GetApp()), render.Clean(e.GetMessage()))
}
